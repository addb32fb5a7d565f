//! Webhooks that sign with ed25519: their key pairs over create, PATCH and rotation, and the public keys that anybody can fetch.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PLATFORM, Reply, World};

const LIST: &str = "/v1/accounts/default/webhooks";

async fn made(world: &World, more: Value) -> Value {
    let mut body = json!({"name": "w", "url": "https://hooks.example.com/in", "events": ["*"]});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let reply = world.post(LIST, &body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    reply.json()
}

/// The key set, asked for without a key of the API.
async fn key_set(world: &World, webhook: &Value) -> Reply {
    let id = webhook["id"].as_str().expect("an id");
    world.ask(Method::GET, &format!("/.well-known/webhooks/{id}/keys")).send().await
}

fn public_keys(set: &Reply) -> Vec<String> {
    let set = set.json();
    let keys = set["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["public_key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test]
async fn a_key_pair_is_made_on_request_and_only_its_public_half_is_shown() {
    let world = World::new();
    let plain = made(&world, json!({})).await;
    assert_eq!((&plain["signing"], &plain["public_key"]), (&json!("hmac"), &Value::Null));
    let signed = made(&world, json!({"signing": "ed25519"})).await;
    assert_eq!(signed["signing"], "ed25519");
    let key = signed["public_key"].as_str().expect("a key").to_owned();
    let path = format!("{LIST}/{}", signed["id"].as_str().expect("an id"));

    let set = key_set(&world, &signed).await;
    assert_eq!(set.status, StatusCode::OK);
    assert_eq!(set.headers["cache-control"], "public, max-age=300");
    let x = key.trim_start_matches("whpk_").trim_end_matches('=').replace('+', "-").replace('/', "_");
    let expected = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "public_key": key, "until": null});
    assert_eq!(set.json(), json!({"keys": [expected]}));
    let secrets = world.get(&format!("{path}/secret")).await;
    assert_eq!(secrets.json()["public_key"], key);
    let by = json!({"header": "webhook-signature", "scheme": "ed25519", "by": ["current"]});
    assert_eq!(secrets.json()["signs"][2], by);
    for reply in [&set, &secrets, &world.get(&path).await] {
        assert!(!format!("{:?}", reply.json()).contains("whsk_"), "the private key stays here");
    }

    // The same again changes nothing; another word is refused; back and forth makes a new pair.
    let patched = world.patch(&path, &json!({"signing": "ed25519"})).await.json();
    assert_eq!(patched["public_key"], key);
    for odd in [json!("rsa"), json!(null), json!(1), json!("")] {
        let (status, faults) = world.patch(&path, &json!({"signing": odd})).await.faults();
        assert_eq!((status, faults), (422, vec![("/signing".to_owned(), "signing_invalid".to_owned())]));
    }
    let back = world.patch(&path, &json!({"signing": "hmac"})).await.json();
    assert_eq!((&back["signing"], &back["public_key"]), (&json!("hmac"), &Value::Null));
    assert_eq!(key_set(&world, &signed).await.status, StatusCode::NOT_FOUND);
    let again = world.patch(&path, &json!({"signing": "ed25519"})).await.json();
    assert_ne!(again["public_key"], key);
}

#[tokio::test]
async fn a_rotation_makes_a_new_pair_and_both_public_keys_are_there_until_it_ends() {
    let world = World::new();
    let webhook = made(&world, json!({"signing": "ed25519"})).await;
    let path = format!("{LIST}/{}/secret", webhook["id"].as_str().expect("an id"));
    let first = public_keys(&key_set(&world, &webhook).await);
    let rotated = world.post(&format!("{path}/rotate"), &json!({"overlap": "1h"})).await.json();
    assert_eq!(rotated["previous"]["public_key"], first[0]);
    assert_eq!(rotated["signs"][2]["by"], json!(["current", "previous"]));
    let both = key_set(&world, &webhook).await;
    let second = rotated["public_key"].as_str().expect("a key").to_owned();
    assert_eq!(public_keys(&both), [second.clone(), first[0].clone()]);
    assert_eq!(both.json()["keys"][1]["until"], rotated["previous"]["until"]);
    world.ask(Method::POST, &format!("{path}/confirm")).key(PLATFORM).send().await;
    assert_eq!(public_keys(&key_set(&world, &webhook).await), std::slice::from_ref(&second));

    world.post(&format!("{path}/rotate"), &json!({"overlap": "1h"})).await;
    world.advance(Duration::from_secs(3_600));
    let third = public_keys(&key_set(&world, &webhook).await);
    assert!(third.len() == 1 && third[0] != second, "{third:?}");
    world.post(&format!("{path}/rotate"), &json!({"overlap": "0s"})).await;
    let fourth = public_keys(&key_set(&world, &webhook).await);
    assert!(fourth.len() == 1 && fourth != third, "{fourth:?}");
}

#[tokio::test]
async fn what_has_no_public_key_looks_like_what_never_was() {
    let world = World::new();
    let plain = made(&world, json!({})).await;
    let deleted = made(&world, json!({"signing": "ed25519"})).await;
    world.ask(Method::DELETE, &format!("{LIST}/{}", deleted["id"].as_str().expect("an id"))).key(PLATFORM).send().await;
    let never = key_set(&world, &json!({"id": "wh_never"})).await;
    assert_eq!(never.status, StatusCode::NOT_FOUND);
    for webhook in [plain, deleted, json!({"id": "x"}), json!({"id": "%ff"})] {
        let reply = key_set(&world, &webhook).await;
        assert_eq!((reply.status, reply.without_id()), (StatusCode::NOT_FOUND, never.without_id()), "{webhook}");
    }
}
