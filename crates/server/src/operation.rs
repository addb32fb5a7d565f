//! One operation of the API: how it is reached, what serves it, and how it is described. The router, the OpenAPI document
//! and the tests over all routes are made from the same list.

use axum::Extension;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use domain::filter::SEARCH_LEN_MAX;
use domain::key::Scope;
use http::Method;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, SchemaFormat, SchemaType,
    Type,
};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use std::borrow::Cow;
use std::sync::Arc;

use crate::app::Api;
use crate::auth::Caller;
use crate::idempotency::KEY_LENGTH_MAX;
use crate::page::LIMIT_MAX;
use crate::problem::Problem;

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The header with the next page of a list.
pub(crate) const LINK: &str = "Link";

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone, without a key.
    Open,
    /// Platform keys that may do everything.
    Platform,
    /// Keys with this scope: for the account that the path or the event names, if they are an account's.
    Scope(Scope),
    /// Every key of the account that the path names, and of the platform.
    Member,
    /// Every key.
    AnyKey,
}

impl Access {
    /// # Errors
    /// 403, which names what the key lacks.
    pub(crate) fn check(self, caller: &Caller) -> Result<(), Problem> {
        let allowed = match self {
            Self::Open | Self::Member | Self::AnyKey => true,
            Self::Platform => caller.is_unlimited(),
            Self::Scope(scope) => caller.has(scope),
        };
        if allowed { Ok(()) } else { Err(Problem::forbidden(self.lacking())) }
    }

    fn lacking(self) -> String {
        match self {
            Self::Scope(scope) => format!("This key may not do this: it lacks the scope {}.", scope.as_str()),
            Self::Open | Self::Member | Self::AnyKey | Self::Platform => {
                "Only a platform key (phk_…) without scopes may do this.".to_owned()
            }
        }
    }
}

/// A parameter of the query or the path, or a header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) about: &'static str,
    pub(crate) value: fn() -> Shape,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the query.
    Query,
    /// Among the request's headers.
    Header,
}

/// The shape of a body: its schema, and the named schemas that it refers to.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) schema: RefOr<Schema>,
    pub(crate) named: Vec<(String, RefOr<Schema>)>,
    pub(crate) media: &'static str,
}

/// The shape of a `T`, by its name.
pub(crate) fn shape<T: ToSchema>() -> Shape {
    let mut named = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut named);
    let schema = RefOr::Ref(utoipa::openapi::Ref::from_schema_name(T::name()));
    Shape { schema, named, media: "application/json" }
}

impl Shape {
    /// The same as one object of all the parts' fields, of which these have to be given: what a schema cannot say that takes most of its
    /// fields from another's. Each part would refuse the fields of the others.
    pub(crate) fn whole(mut self, needed: &[&str]) -> Self {
        if let Some((_, schema)) = self.named.first_mut()
            && let RefOr::T(Schema::AllOf(all)) = schema
        {
            let mut whole = Object::new();
            whole.description = all.description.take();
            for item in &mut all.items {
                if let RefOr::T(Schema::Object(part)) = item {
                    whole.properties.append(&mut part.properties);
                    whole.additional_properties = part.additional_properties.take().or(whole.additional_properties);
                }
            }
            whole.required = needed.iter().map(|field| (*field).to_owned()).collect();
            *schema = Schema::Object(whole).into();
        }
        self
    }
}

/// The shape of a `T`, or of an array of them, at most so many.
pub(crate) fn one_or_more<T: ToSchema>(most: usize) -> Shape {
    let one = shape::<T>();
    let several = ArrayBuilder::new().items(one.schema.clone()).max_items(Some(most));
    let either = OneOfBuilder::new().item(one.schema).item(several);
    Shape { schema: Schema::from(either).into(), ..one }
}

/// The shape of a page of `T`s.
pub(crate) fn page<T: ToSchema>() -> Shape {
    let one = shape::<T>();
    Shape { schema: page_of(one.schema).into(), ..one }
}

/// The shape of a page of `T`s that says how far it has looked.
fn searched_page<T: ToSchema>() -> Shape {
    let one = shape::<T>();
    let searched = text_or_null("Set when the page ends since it has looked for long enough: everything accepted at this instant or after it has been looked through.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let page = page_of(one.schema).property("searched_until", searched).required("searched_until");
    Shape { schema: page.into(), ..one }
}

fn page_of(one: RefOr<Schema>) -> ObjectBuilder {
    ObjectBuilder::new()
        .property("data", ArrayBuilder::new().items(one))
        .property("next_cursor", text_or_null("The next page's cursor; null at the end."))
        .required("data")
        .required("next_cursor")
}

fn text_or_null(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null])).description(Some(about))
}

/// The shape of JSON that another standard describes.
pub(crate) fn object(about: &str) -> Shape {
    let any = AdditionalProperties::FreeForm(true);
    let schema = ObjectBuilder::new().description(Some(about)).additional_properties(Some(any));
    Shape { schema: Schema::from(schema).into(), named: Vec::new(), media: "application/json" }
}

/// A name and a value, for the description: a list of two texts. Generators of clients do not know tuples (`prefixItems`).
pub(crate) enum Pair {}

impl PartialSchema for Pair {
    fn schema() -> RefOr<Schema> {
        let pair = ArrayBuilder::new().items(String::schema()).min_items(Some(2)).max_items(Some(2));
        Schema::from(pair.description(Some("A name and its value."))).into()
    }
}

impl ToSchema for Pair {
    fn name() -> Cow<'static, str> {
        "Pair".into()
    }
}

/// The shape of a body that is no JSON.
pub(crate) fn text(media: &'static str) -> Shape {
    Shape { schema: String::schema(), named: Vec::new(), media }
}

fn text_value() -> Shape {
    text("text/plain")
}

fn idempotency_key() -> Shape {
    let key = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(KEY_LENGTH_MAX));
    Shape { schema: Schema::from(key.pattern(Some("^[!-~]+$"))).into(), ..text_value() }
}

/// What is searched for in the log.
pub(crate) fn searched_text() -> Shape {
    let searched = ObjectBuilder::new().schema_type(Type::String).max_length(Some(SEARCH_LEN_MAX));
    Shape { schema: Schema::from(searched).into(), ..text_value() }
}

/// How many rows of a list are wanted.
pub(crate) fn limit() -> Shape {
    let rows = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(LIMIT_MAX));
    Shape { schema: Schema::from(rows).into(), ..text_value() }
}

/// True or false, in the query.
pub(crate) fn yes_or_no() -> Shape {
    Shape { schema: bool::schema(), ..text_value() }
}

/// One operation.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) handler: MethodRouter<Arc<Api>>,
    /// The operation's name in generated clients.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) about: &'static str,
    pub(crate) access: Access,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<(Shape, bool)>,
    /// What else the body may be, by its media type.
    pub(crate) other_body: Option<Shape>,
    pub(crate) answer: (u16, &'static str, Option<Shape>),
    /// What it answers to another kind of request when all is well.
    pub(crate) other_answer: Option<(u16, &'static str, Shape)>,
    /// The headers of its own that answers of a status carry.
    pub(crate) told: Vec<(u16, &'static str)>,
    /// Further statuses than those that every operation can answer.
    pub(crate) refusals: Vec<(u16, &'static str)>,
}

impl Operation {
    /// An operation on `path`, served by `handler`; the first segment after the version groups it.
    pub(crate) fn new<H, T>(
        method: &Method,
        path: &'static str,
        id: &'static str,
        handler: H,
        summary: &'static str,
    ) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        let filter =
            MethodFilter::try_from(method.clone()).expect("the methods of the list are those of the framework");
        let status = if *method == Method::DELETE { 204 } else { 200 };
        Self {
            method: method.clone(),
            path,
            handler: on(filter, handler),
            id,
            summary,
            about: "",
            access: Access::Scope(Scope::Account),
            parameters: Vec::new(),
            body: None,
            other_body: None,
            answer: (status, "Done.", None),
            other_answer: None,
            told: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// What a reader should know beyond the summary.
    pub(crate) fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Who may call it; without this, only who may do everything in the account.
    pub(crate) fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// It needs this scope.
    pub(crate) fn scope(self, scope: Scope) -> Self {
        self.access(Access::Scope(scope))
    }

    /// What serves it: whoever reads the caller of a request finds there what the operation needs.
    pub(crate) fn into_handler(self) -> MethodRouter<Arc<Api>> {
        self.handler.layer(Extension(self.access))
    }

    /// A parameter of the query: text.
    pub(crate) fn query(self, name: &'static str, about: &'static str) -> Self {
        self.query_of(name, about, text_value)
    }

    /// A parameter of the query, with the shape of its value.
    pub(crate) fn query_of(mut self, name: &'static str, about: &'static str, value: fn() -> Shape) -> Self {
        self.parameters.push(Parameter { name, place: Place::Query, about, value });
        self
    }

    /// A header of the request: text.
    pub(crate) fn header(self, name: &'static str, about: &'static str) -> Self {
        self.header_of(name, about, text_value)
    }

    fn header_of(mut self, name: &'static str, about: &'static str, value: fn() -> Shape) -> Self {
        self.parameters.push(Parameter { name, place: Place::Header, about, value });
        self
    }

    /// It is a list: it takes `limit` and `cursor`, and answers pages of `T`.
    pub(crate) fn lists<T: ToSchema>(self) -> Self {
        self.query_of("limit", "Rows wanted: 1 to 100; 25 if not given.", limit)
            .query("cursor", "The next_cursor of the page before.")
            .answers(200, "A page, newest first.", Some(page::<T>()))
            .tells(200, LINK)
    }

    /// It is a list that may have to look for long: [`Self::lists`], and its pages say how far they have looked.
    pub(crate) fn searches<T: ToSchema>(self) -> Self {
        let listing = self.lists::<T>();
        listing.answers(
            200,
            "A page, newest first. What is rare is looked for within a time: a page that ends by it says in \
             `searched_until` how far back it has looked, and `next_cursor` goes on from there.",
            Some(searched_page::<T>()),
        )
    }

    /// Whether it honours `Idempotency-Key`.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.name == IDEMPOTENCY_KEY)
    }

    /// It honours `Idempotency-Key`.
    pub(crate) fn idempotent(self) -> Self {
        self.header_of(
            IDEMPOTENCY_KEY,
            "1 to 255 visible ASCII characters, kept for 24 h: the same request under the same key acts once, and gets the same answer.",
            idempotency_key,
        )
        .refuses(422, "The input has faults, or the Idempotency-Key came with another request.")
    }

    /// It honours `If-Match`.
    pub(crate) fn matches(self) -> Self {
        self.header("If-Match", "The ETag that you read; 412 if it was changed since.")
            .refuses(412, "It was changed since it was read.")
    }

    /// It takes a body.
    pub(crate) fn takes(self, shape: Shape) -> Self {
        Self { body: Some((shape, true)), ..self }
    }

    /// It takes a body, or none.
    pub(crate) fn may_take(self, shape: Shape) -> Self {
        Self { body: Some((shape, false)), ..self }
    }

    /// Its body may be this too, under another media type.
    pub(crate) fn or_takes(self, shape: Shape) -> Self {
        Self { other_body: Some(shape), ..self }
    }

    /// What it answers to another kind of request when all is well.
    pub(crate) fn or_answers(self, status: u16, about: &'static str, shape: Shape) -> Self {
        Self { other_answer: Some((status, about, shape)), ..self }
    }

    /// What it answers when all is well.
    pub(crate) fn answers(self, status: u16, about: &'static str, shape: Option<Shape>) -> Self {
        Self { answer: (status, about, shape), ..self }
    }

    /// A header that an answer of this status carries.
    pub(crate) fn tells(mut self, status: u16, header: &'static str) -> Self {
        self.told.push((status, header));
        self
    }

    /// A status that it can refuse with.
    pub(crate) fn refuses(mut self, status: u16, about: &'static str) -> Self {
        self.refusals.push((status, about));
        self
    }
}
