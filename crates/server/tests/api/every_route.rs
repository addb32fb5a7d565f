//! Every route under an account, taken from the API's own description, with another account's ids.

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
}

async fn ids_of(world: &World, account: &str) -> Ids {
    let webhook = world.webhook(account).await;
    let event = world.event(account).await;
    let delivery = World::first_delivery(&event).to_string();
    let keys = world.get(&format!("/v1/accounts/{account}/keys")).await.json();
    Ids { webhook, event, delivery, key: keys["data"][0]["id"].as_str().expect("an id").to_owned() }
}

fn fill(path: &str, account: &str, ids: &Ids) -> String {
    let id = match path.split('/').nth(4) {
        Some("webhooks") => &ids.webhook,
        Some("events") => &ids.event,
        Some("deliveries") => &ids.delivery,
        Some("keys") => &ids.key,
        _ => "",
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
}

#[tokio::test]
async fn no_route_answers_without_a_key_but_those_that_say_so() {
    let world = World::new();
    let document = world.get("/openapi.json").await.json();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let open = operation["security"] == json!([]);
            let filled = path.replace("{account}", "default").replace("{id}", "x").replace("{name}", "x");
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
