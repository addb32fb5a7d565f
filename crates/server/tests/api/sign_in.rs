//! Who is let in, and who is not.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::world::{PLATFORM, World};

const PATH: &str = "/v1/accounts/default/webhooks";

#[tokio::test]
async fn every_kind_of_wrong_key_gets_the_same_answer() {
    let world = World::new();
    let reference = world.ask(Method::GET, PATH).send().await;
    assert_eq!(reference.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reference.headers["www-authenticate"], "Bearer");
    for value in [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer phk_wrong",
        "Bearer phk_tesT",
        "Basic cGhrX3Rlc3Q=",
        "phk_test",
        &format!("Bearer {}", "a".repeat(7_000)),
    ] {
        let reply = world.ask(Method::GET, PATH).header("authorization", value).send().await;
        assert_eq!(
            (reply.status, reply.without_id()),
            (StatusCode::UNAUTHORIZED, reference.without_id()),
            "{value:.20}"
        );
    }
    let two = world.ask(Method::GET, PATH).key(PLATFORM).key(PLATFORM).send().await;
    assert_eq!((two.status, two.without_id()), (StatusCode::UNAUTHORIZED, reference.without_id()));
    assert_eq!(
        world.ask(Method::GET, PATH).header("authorization", "bearer phk_test").send().await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn guessing_is_slowed_down_and_who_has_a_key_is_not() {
    let world = World::new();
    let guess = async |n: u32| world.ask(Method::GET, PATH).key(&format!("phk_{n}")).send().await;
    for n in 0..10 {
        assert_eq!(guess(n).await.status, StatusCode::UNAUTHORIZED);
    }
    let limited = guess(10).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.headers["retry-after"], "60");
    assert_eq!(world.get(PATH).await.status, StatusCode::OK);
    world.advance(Duration::from_secs(60));
    assert_eq!(guess(11).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_account_s_flood_is_refused_and_others_go_on() {
    let world = World::new();
    let (flood, other) = (world.account("a", &[]).await, world.account("b", &[]).await);
    let ask = async |account: &str, key: &str| {
        world.ask(Method::GET, &format!("/v1/accounts/{account}")).key(key).send().await
    };
    let mut refused = None;
    for _ in 0..1_000 {
        let reply = ask("a", &flood).await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("1,000 requests in no time are too many");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(ask("b", &other).await.status, StatusCode::OK);
    world.advance(Duration::from_secs(1));
    assert_eq!(ask("a", &flood).await.status, StatusCode::OK);
}

#[tokio::test]
async fn strange_paths_and_methods_reach_nothing() {
    let world = World::new();
    let key = world.account("a", &[]).await;
    world.account("b", &[]).await;
    for path in [
        "/v1//accounts",
        "/v1/accounts/a%2f..%2fb/webhooks",
        "/v1/accounts/a/../b/webhooks",
        "/v1/accounts/a/webhooks/",
        "/v1/accounts/a/webhooks/wh_%00",
        "/v1/accounts/a/webhooks/wh_%ff",
        "/.git/config",
        "/assets/../../etc/passwd",
    ] {
        let reply = world.ask(Method::GET, path).key(&key).send().await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(reply.json()["code"], "not_found");
    }
    for id in ["%ff", "key_%ff", "%00"] {
        let reply = world.delete(&format!("/v1/keys/{id}")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (StatusCode::NOT_FOUND, &"not_found".into()), "{id}");
    }
    for method in [Method::TRACE, Method::OPTIONS, Method::PUT] {
        let reply = world.ask(method, "/v1/accounts").header("origin", "https://evil.example").send().await;
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"method_not_allowed".into())
        );
        assert_eq!(reply.headers["allow"], "GET,HEAD,POST");
        assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control")));
    }
}
