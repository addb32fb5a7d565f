//! Every row of the table of hostile inputs, played on the shipped binary. Names come from a name server of the tests;
//! "public" is an opened 127.0.0.2, "private" an unopened 10.0.0.1, which is never really dialled.

mod addresses;
mod answers;
mod events;
mod headers;
mod memory;
mod names;
mod routes;
mod seen;
mod stage;
mod starts;
mod transport;
mod urls;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::table::{self, Row};
use crate::wait;
use seen::Played;
use stage::Stage;

/// Rows with a deadline so close to the limit that the others have to be over.
const QUIET: [&str; 7] = ["N006", "N021", "R081", "R083", "R089", "E062", "E063"];

/// How often a row is played before a fault counts in which an attempt ran out of time, or a panic. A busy machine may take seconds of the
/// five that both ends of an attempt share; whoever sets the wrong deadline does so each time.
const TRIES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_input_gets_its_answer() {
    let _machine = wait::the_machine().await;
    let stage = Arc::new(Stage::set().await);
    let (quiet, rows): (Vec<Row>, Vec<Row>) =
        table::rows().into_iter().partition(|row| QUIET.contains(&row.id.as_str()));
    // A minute long, and nothing but waiting: beside all others.
    let (long, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.id == "N019");
    let long = tokio::spawn(play_all(Arc::clone(&stage), long));
    let mut played = play_all(Arc::clone(&stage), rows).await;
    played.extend(play_all(Arc::clone(&stage), quiet).await);
    played.extend(long.await.expect("its panics are caught"));
    println!("played again, alone: {:?}", again(&stage, &mut played).await);
    played.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    let (summary, faults) = judge(&played);
    println!("{summary}");
    assert!(faults.is_empty(), "{} rows got another answer:\n{}", faults.len(), faults.join("\n"));
}

/// Plays the rows that wanted time again, alone; says which, each time.
async fn again(stage: &Arc<Stage>, played: &mut [(Row, Played)]) -> Vec<String> {
    let mut ids = Vec::new();
    for (row, outcome) in played {
        for _ in 1..TRIES {
            if !outcome.wanted_time(row) {
                break;
            }
            ids.push(row.id.clone());
            if let Some((_, next)) = play_all(Arc::clone(stage), vec![row.clone()]).await.pop() {
                *outcome = next;
            }
        }
    }
    ids
}

/// Plays rows side by side; a row that panics has failed.
async fn play_all(stage: Arc<Stage>, rows: Vec<Row>) -> Vec<(Row, Played)> {
    let (mut tasks, mut played) = (JoinSet::new(), Vec::new());
    let mut of = std::collections::HashMap::new();
    for row in rows {
        let (stage, task_row) = (Arc::clone(&stage), row.clone());
        let task = tasks.spawn(async move { play(&stage, &task_row).await });
        of.insert(task.id(), row);
    }
    while let Some(ended) = tasks.join_next_with_id().await {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Played::panicked(error)),
        };
        played.push((of.remove(&id).expect("a task of this set"), outcome));
    }
    played
}

async fn play(stage: &Stage, row: &Row) -> Played {
    match row.group {
        'U' | 'L' => urls::play(stage, row).await,
        'A' => addresses::play(stage, row).await,
        'N' => names::play(stage, row).await,
        'H' => headers::play(stage, row).await,
        'E' => events::play(stage, row).await,
        'R' if row.id.as_str() >= "R061" && row.id.as_str() <= "R080" => transport::play(stage, row).await,
        'R' => answers::play(stage, row).await,
        'T' if row.input.starts_with("@serve") => starts::play(stage, row).await,
        'T' => routes::play(stage, row).await,
        other => panic!("no group {other}"),
    }
}

/// The summary, and the rows that got another answer than they should.
fn judge(played: &[(Row, Played)]) -> (String, Vec<String>) {
    let mut faults = Vec::new();
    let mut left_out = Vec::new();
    for (row, outcome) in played {
        match outcome {
            Played::LeftOut(why) => left_out.push(format!("  {}: {why}", row.id)),
            Played::Seen(seen) => {
                if let Some(fault) = seen.fault(row) {
                    faults.push(format!("  {}: expected {}, got {fault}", row.id, row.expected.join(" | ")));
                }
            }
        }
    }
    let count = played.len() - left_out.len();
    (format!("hostile inputs: {count} played, {} left out:\n{}", left_out.len(), left_out.join("\n")), faults)
}
