//! Lists, page by page.

use http::StatusCode;

use crate::world::World;

/// Walks a list to its end by `Link`, and gives the ids.
async fn walk(world: &World, start: &str) -> Vec<String> {
    let (mut path, mut ids) = (start.to_owned(), Vec::new());
    for _ in 0..100 {
        let reply = world.get(&path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        let json = reply.json();
        let rows = json["data"].as_array().expect("rows");
        ids.extend(rows.iter().map(|row| row["id"].as_str().or(row["name"].as_str()).expect("an id").to_owned()));
        let Some(link) = reply.headers.get("link") else {
            assert!(json["next_cursor"].is_null());
            return ids;
        };
        let link = link.to_str().expect("text");
        path = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).expect("a link").to_owned();
        let cursor = json["next_cursor"].as_str().expect("a cursor");
        assert!(path.contains(&format!("cursor={cursor}")));
    }
    panic!("{start} has no end");
}

#[tokio::test]
async fn every_list_can_be_walked_to_its_end_without_gaps_or_repeats() {
    let world = World::new();
    for n in 0..7 {
        world.account(&format!("a{n}"), &[]).await;
        world.webhook("default").await;
    }
    for _ in 0..7 {
        world.event("default").await;
    }
    for (path, count) in [
        ("/v1/accounts?limit=3", 8),
        ("/v1/accounts/default/webhooks?limit=3", 7),
        ("/v1/accounts/default/events?limit=3", 7),
        ("/v1/accounts/default/deliveries?limit=3", 49),
        ("/v1/accounts/default/deliveries?limit=7&event=alert.*", 49),
        ("/v1/event-types?limit=5", 16),
        ("/v1/event-types", 16),
    ] {
        let ids = walk(&world, path).await;
        let mut unique = ids.clone();
        unique.sort();
        unique.dedup();
        assert_eq!((ids.len(), unique.len()), (count, count), "{path}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_account_or_list_is_refused() {
    let world = World::new();
    world.account("b", &[]).await;
    for account in ["default", "b"] {
        world.webhook(account).await;
        world.event(account).await;
        world.event(account).await;
    }
    let cursor = world.get("/v1/accounts/b/deliveries?limit=1").await.json()["next_cursor"].clone();
    let cursor = cursor.as_str().expect("a cursor");
    assert_eq!(world.get(&format!("/v1/accounts/b/deliveries?cursor={cursor}")).await.status, StatusCode::OK);
    for path in ["/v1/accounts/default/deliveries", "/v1/accounts/b/events", "/v1/accounts"] {
        let reply = world.get(&format!("{path}?cursor={cursor}")).await;
        assert_eq!(reply.faults(), (422, vec![("cursor".to_owned(), "cursor_invalid".to_owned())]), "{path}");
    }
}
