//! Every route under an account, taken from the API's own description, with another account's ids.

use domain::key::Scope;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{Reply, World};

/// Method and path of every operation under an account.
async fn routes(world: &World) -> Vec<(Method, String)> {
    let document = world.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    let routes: Vec<_> = paths
        .iter()
        .filter(|(path, _)| path.starts_with("/v1/accounts/{account}"))
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| (method.to_uppercase().parse().expect("a method"), path.clone()))
        })
        .collect();
    assert!(routes.len() >= 25, "only {routes:?}");
    routes
}

/// What the second account owns, by the resource in the path.
struct Ids {
    webhook: String,
    event: String,
    delivery: String,
    key: String,
    replay: String,
}

async fn ids_of(world: &World, account: &str) -> Ids {
    let webhook = world.webhook(account).await;
    let event = world.event(account).await;
    let delivery = World::first_delivery(&event).to_string();
    world.post(&format!("/v1/accounts/{account}/deliveries/{delivery}/cancel"), &json!({})).await;
    let replay = world.post(&format!("/v1/accounts/{account}/replays"), &json!({"status": "cancelled"})).await.json();
    let replay = replay["id"].as_str().expect("an id").to_owned();
    let keys = world.get(&format!("/v1/accounts/{account}/keys")).await.json();
    Ids { webhook, event, delivery, replay, key: keys["data"][0]["id"].as_str().expect("an id").to_owned() }
}

fn fill(path: &str, account: &str, ids: &Ids) -> String {
    let id = match path.split('/').nth(4) {
        Some("webhooks" | "listen") => &ids.webhook,
        Some("events") => &ids.event,
        Some("deliveries") => &ids.delivery,
        Some("replays") => &ids.replay,
        _ => &ids.key,
    };
    path.replace("{account}", account).replace("{id}", id)
}

async fn ask(world: &World, method: &Method, path: &str, key: &str) -> Reply {
    // A body that any of them could read, so that only the account decides.
    let ask = world.ask(method.clone(), path).key(key);
    if *method == Method::GET { ask.send().await } else { ask.json(&json!({})).send().await }
}

#[tokio::test]
async fn another_account_s_anything_looks_like_what_never_was() {
    let world = World::new();
    let key = world.account("a", &["events:write"]).await;
    world.account("b", &[]).await;
    let of_b = ids_of(&world, "b").await;
    let mut later = 0;
    let never = Ids {
        webhook: "wh_never".to_owned(),
        event: "evt_00000000000zz".to_owned(),
        delivery: "dlv_00000000000zz00".to_owned(),
        key: "key_never".to_owned(),
        replay: "rpl_never".to_owned(),
    };
    for (method, path) in routes(&world).await {
        let mut answers: Vec<(String, Value)> = Vec::new();
        for (account, ids) in [("b", &of_b), ("never", &of_b), ("b", &never)] {
            let filled = fill(&path, account, ids);
            let reply = ask(&world, &method, &filled, &key).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {filled}: {reply:?}");
            answers.push((filled, reply.without_id()));
        }
        if path.contains("{id}") {
            for ids in [&of_b, &never] {
                let filled = fill(&path, "a", ids);
                let reply = ask(&world, &method, &filled, &key).await;
                assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {filled}: {reply:?}");
                answers.push((filled, reply.without_id()));
            }
        }
        assert!(answers.iter().all(|(_, body)| *body == answers[0].1), "{method}: {answers:?}");
        later += 1;
        if later % 20 == 0 {
            // One account key may not ask without end.
            world.advance(std::time::Duration::from_secs(1));
        }
    }
    let still = world.get(&format!("/v1/accounts/b/webhooks/{}", of_b.webhook)).await.json();
    assert_eq!(still["status"], "active", "nothing of b was changed");
    let still = world.get(&format!("/v1/accounts/b/replays/{}", of_b.replay)).await.json();
    assert_eq!(still["status"], "running", "nothing of b was changed");
}

/// Every operation, with what it needs as its description says: a scope, `platform`, or nothing but a key.
async fn needs(world: &World) -> Vec<(Method, String, Option<String>)> {
    let document = world.get("/openapi.json").await.json();
    let mut needs = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation["security"] != json!([]) {
                let need = operation["security"][0]["key"][0].as_str().map(str::to_owned);
                needs.push((method.to_uppercase().parse().expect("a method"), path.clone(), need));
            }
        }
    }
    needs
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_for_no_other() {
    let world = World::new();
    world.account("a", &[]).await;
    world.account("b", &[]).await;
    let never = Ids {
        webhook: "wh_never".to_owned(),
        event: "evt_00000000000zz".to_owned(),
        delivery: "dlv_00000000000zz00".to_owned(),
        key: "key_never".to_owned(),
        replay: "rpl_never".to_owned(),
    };
    let needs = needs(&world).await;
    let platform_key = async |scopes: Value| -> String {
        let made = world.post("/v1/keys", &json!({"name": "p", "scopes": scopes})).await.json();
        made["key"].as_str().expect("a key").to_owned()
    };
    let mut asked = std::collections::BTreeSet::new();
    for scope in Scope::ALL {
        let own = world.narrow_key("a", &[scope.as_str()]).await;
        let wide = platform_key(json!([scope.as_str()])).await;
        for (method, path, need) in &needs {
            let filled = fill(path, "a", &never).replace("{name}", "alert.rule_created");
            let allowed = match need.as_deref() {
                None => true,
                Some("platform") => false,
                Some(need) => {
                    asked.insert(need.to_owned());
                    let needed = Scope::ALL.iter().find(|scope| scope.as_str() == need).expect("a scope");
                    scope.covers(*needed)
                }
            };
            let ask = async |key: &str, filled: &str| {
                let ask = world.ask(method.clone(), filled).key(key);
                if *method == Method::GET { ask.status().await } else { ask.json(&json!({})).status().await }
            };
            for key in [&own, &wide] {
                let status = ask(key, &filled).await;
                let about = format!("{method} {filled} with {}: {status}", scope.as_str());
                assert_eq!(status != StatusCode::FORBIDDEN, allowed, "{about}");
                assert!(status != StatusCode::UNAUTHORIZED && !status.is_server_error(), "{about}");
            }
            if path.contains("{account}") {
                let foreign = fill(path, "b", &never);
                assert_eq!(ask(&own, &foreign).await, StatusCode::NOT_FOUND, "{method} {foreign}");
            }
        }
        world.advance(std::time::Duration::from_secs(1));
    }
    let all = Scope::ALL.iter().filter(|scope| **scope != Scope::Account).map(|scope| scope.as_str().to_owned());
    let missing: Vec<_> = all.filter(|scope| !asked.contains(scope)).collect();
    assert!(missing.is_empty(), "no operation needs {missing:?}");
}

#[tokio::test]
async fn no_route_answers_without_a_key_but_those_that_say_so() {
    let world = World::new();
    // One whose public keys anybody may fetch.
    let body = json!({"url": "https://keys.example.com/", "events": ["*"], "signing": "ed25519"});
    let webhook = world.post("/v1/accounts/default/webhooks", &body).await.json();
    let id = webhook["id"].as_str().expect("an id");
    let document = world.get("/openapi.json").await.json();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let open = operation["security"] == json!([]);
            let filled = path.replace("{account}", "default").replace("{id}", id).replace("{name}", "x");
            let reply = world.ask(method.to_uppercase().parse().expect("a method"), &filled).send().await;
            let expected = match (open, path.as_str()) {
                // Signing in is how one gets in: it misses the token, not a key.
                (true, "/v1/sessions") => StatusCode::BAD_REQUEST,
                (true, _) => StatusCode::OK,
                (false, _) => StatusCode::UNAUTHORIZED,
            };
            assert_eq!(reply.status, expected, "{method} {path}");
        }
    }
}
