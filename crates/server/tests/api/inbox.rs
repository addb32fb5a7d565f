//! The inbox of the development mode, as the dashboard reads it.

use std::sync::Mutex;

use domain::time::Timestamp;
use http::Method;
use serde_json::json;
use server::{Inbox, InboxBox, InboxRequest};

use crate::world::World;

/// One box, `x`, in which one request lies.
#[derive(Default)]
pub(crate) struct OneBox(Mutex<String>);

impl Inbox for OneBox {
    fn boxes(&self) -> Vec<InboxBox> {
        vec![InboxBox {
            name: "x".to_owned(),
            url: "https://localhost:8401/inbox/x".to_owned(),
            answer: self.0.lock().expect("not poisoned").clone(),
            said: String::new(),
            answers: vec!["200", "hang"],
            received: 1,
        }]
    }

    fn requests(&self, name: &str) -> Option<Vec<InboxRequest>> {
        let request = InboxRequest {
            number: 1,
            received_at: Timestamp(0),
            headers: vec![("host".to_owned(), "localhost".to_owned())],
            body: "{}".to_owned(),
            event: None,
            delivery: None,
            attempt: None,
            verified: false,
            signature: "no signature header".to_owned(),
            answered: Some(200),
        };
        (name == "x").then(|| vec![request])
    }

    fn switch(&self, name: &str, answer: &str) -> Option<()> {
        *self.0.lock().expect("not poisoned") = answer.to_owned();
        (name == "x").then_some(())
    }
}

#[tokio::test]
async fn a_box_shows_what_it_got_and_is_switched_by_the_platform_alone() {
    let world = World::new();
    let key = world.account("a", &[]).await;
    assert_eq!(world.ask(Method::GET, "/v1/inbox/x").key(&key).send().await.status.as_u16(), 403);
    assert_eq!(world.get("/v1/inbox").await.json()["data"][0]["name"], "x");
    assert_eq!(world.get("/v1/inbox/y").await.status.as_u16(), 404);
    let content = world.get("/v1/inbox/x").await.json();
    assert_eq!((&content["received"], &content["data"][0]["answered"]), (&json!(1), &json!(200)));
    assert_eq!(world.patch("/v1/inbox/x", &json!({"answer": "hang"})).await.json()["answer"], "hang");
    for bad in [json!({"answer": "404"}), json!({"answer": 200}), json!({}), json!({"answer": "hang", "more": 1})] {
        let refused = world.patch("/v1/inbox/x", &bad).await;
        assert_eq!(refused.status.as_u16(), 422, "{bad}");
    }
    assert_eq!(world.get("/v1/inbox/x").await.json()["answer"], "hang");
}
