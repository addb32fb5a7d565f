//! `posthaste bench` runs and gives its figures. How large they are is not judged here: a machine that is busy with other
//! tests says nothing about speed.

use std::process::Command;

use serde_json::{Value, json};
use store::conformance::cluster::Cluster;

use crate::wait;

/// What `posthaste bench` with these words prints, in a folder of its own for its stores, which is empty afterwards.
async fn bench(words: &[&str]) -> Value {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(["--json", "bench"]).args(words).arg("--scratch").arg(scratch.path());
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("the binary runs")).await.expect("no panic");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(scratch.path().read_dir().expect("it is there").next().is_none(), "the measured stores are removed");
    serde_json::from_str(&out).expect("one JSON document")
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_measures_everything_in_one_run() {
    let _machine = wait::the_machine().await;
    let report = bench(&["--seconds", "2", "--connections", "8", "--rate", "50"]).await;
    println!("a dev build beside other tests: {report}");
    for figure in
        ["bare_per_second", "accepted_per_second", "end_to_end_per_second", "end_to_end_ratio", "hanging_p99_ratio"]
    {
        assert!(report[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure} in {report}");
    }
    for latency in ["latency", "beside_a_hanging_one"] {
        let latency = &report[latency];
        assert!(latency["samples"] == 90, "100 events, a tenth of which goes to the tenth webhook: {latency}");
        assert!(latency["p50_ms"].as_f64() <= latency["p99_ms"].as_f64(), "{latency}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_answered_and_what_was_accepted_is_kept() {
    let _machine = wait::the_machine().await;
    let bursts = bench(&["burst", "--seconds", "1", "--quota", "20", "--batch", "50"]).await;
    println!("a dev build beside other tests: {bursts}");
    for burst in [&bursts["over_a_quota"], &bursts["over_the_machine"]] {
        assert!(burst["taken"].as_u64() > Some(0) && burst["accepted"] == burst["kept"], "{burst}");
        assert_eq!(burst["lost"], 0, "{burst}");
    }
    assert!(bursts["over_a_quota"]["refused"].as_u64() > Some(0), "{bursts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_on_postgresql_are_measured_beside_a_queue_of_rows() {
    let _machine = wait::the_machine().await;
    let database = Cluster::shared().database();
    let words = ["--database", &database, "--nodes", "1,2", "--fan-out", "1", "--seconds", "1", "--connections", "8"];
    let report = bench(&words).await;
    println!("a dev build beside other tests: {report}");
    let load = &report["loads"][0];
    for figure in [&report["bare_per_second"], &load["row_queue_per_second"]] {
        assert!(figure.as_f64().is_some_and(|figure| figure > 0.0), "{report}");
    }
    let nodes = load["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 2);
    for (of, number) in nodes.iter().zip(1u64..) {
        assert_eq!(of["nodes"], number);
        for figure in ["per_second", "ratio", "beside_the_queue", "node_cpu_us", "database_cpu_us", "fsyncs_per_event"]
        {
            assert!(of[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure} in {of}");
        }
        assert!(of["commits_per_event"].as_f64().is_some_and(|figure| figure > 0.0 && figure < 20.0), "{of}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_many_webhooks_and_requests_of_many_events_are_measured_too() {
    let _machine = wait::the_machine().await;
    let database = Cluster::shared().database();
    let load = ["--fan-out", "2,3", "--batch", "5", "--connections", "4"];
    let report = bench(&[&["--database", &database, "--nodes", "1", "--seconds", "1"], &load[..]].concat()).await;
    println!("a dev build beside other tests: {report}");
    assert_eq!(report["batch"], 5);
    let loads = report["loads"].as_array().expect("a list");
    assert_eq!(loads.len(), 2);
    for (load, fan_out) in loads.iter().zip([2, 3]) {
        assert_eq!((&load["fan_out"], &load["connections"]), (&json!(fan_out), &json!(4)));
        let of_nodes = &load["nodes"][0]["per_second"];
        for figure in [&load["row_queue_per_second"], &load["row_queue_best_per_second"], of_nodes] {
            assert!(figure.as_f64().is_some_and(|figure| figure > 0.0), "{load}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_where_much_waits_is_measured() {
    let _machine = wait::the_machine().await;
    let database = Cluster::shared().database();
    let words = ["pending", "--database", &database, "--webhooks", "64", "--each", "3", "--seconds", "1"];
    let report = bench(&words).await;
    println!("a dev build beside other tests: {report}");
    assert_eq!(report["webhooks"], 64);
    assert!(report["pending"].as_u64() >= Some(180) && report["peak_mib"].as_u64() > Some(0), "{report}");
    assert!(report["arrived"].as_u64() > Some(0) && report["first_after_ms"].as_f64() > Some(0.0), "{report}");
}

/// A few seconds of it: what grows is judged by long runs alone, everything else as in those.
async fn a_soak(place: &[&str]) {
    let words = ["soak", "--minutes", "0.1", "--rate", "40", "--accounts", "4"];
    let report = bench(&[&words[..], place].concat()).await;
    assert!(report["accepted"].as_u64() > Some(0) && report["received"].as_u64() > Some(0), "{report}");
    for nothing in ["missing", "unfinished"] {
        assert_eq!(report[nothing], 0, "{nothing} in {report}");
    }
    assert_eq!(report["faults"].as_array().map(Vec::len), Some(0), "{report}");
    assert_eq!(report["judged"], false, "{report}");
    for quarter in ["second_quarter", "last_quarter"] {
        for figure in ["resident_mib", "descriptors", "threads", "data_mib"] {
            assert!(report[quarter][figure].as_f64() > Some(0.0), "{figure} of {quarter} in {report}");
        }
        for figure in ["events_per_second", "attempts_per_second", "cpu_us_per_attempt", "known", "oldest_due"] {
            assert!(report[quarter][figure].as_f64() >= Some(0.0), "{figure} of {quarter} in {report}");
        }
    }
    assert!(report["samples"].as_array().is_some_and(|samples| samples.len() == 24), "{report}");
    for what in ["streams left", "requests cut off", "webhooks deleted", "browsers signed in", "lists read", "batches"]
    {
        assert!(report["did"][what].as_u64() > Some(0), "{what} in {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_kept_busy_with_all_that_could_leak_loses_nothing() {
    let _machine = wait::the_machine().await;
    a_soak(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_postgresql_that_is_kept_busy_with_all_that_could_leak_loses_nothing() {
    let _machine = wait::the_machine().await;
    let database = Cluster::shared().database();
    a_soak(&["--database", &database]).await;
}
