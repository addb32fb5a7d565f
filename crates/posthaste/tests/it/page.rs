//! The page, quoted line by line, and each line proved on the shipped binary.

mod proofs;
mod quotes;
mod retries;
mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::wait;
use quotes::QUOTES;
use stage::Stage;

/// The page itself.
pub(crate) const PAGE: &str = include_str!("webhooks-integration.txt");

/// What proves a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// It claims nothing by itself.
    Words,
    /// A proof of this test.
    Proved(Proof),
    /// Another test.
    Elsewhere(&'static str),
    /// A proof of this test by the API, and another test in the dashboard.
    Both(Proof, &'static str),
}

/// The proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    AnsweredAtOnce,
    Arrives,
    Configured,
    FiveSeconds,
    Groups,
    HttpRefused,
    Logged,
    Payloads,
    Schedule,
    SecretShown,
    Signed,
    SixAttempts,
    SourceAddress,
    Status,
    TestSent,
    Types,
    Unique,
}

impl By {
    fn proof(self) -> Option<Proof> {
        match self {
            Self::Proved(proof) | Self::Both(proof, _) => Some(proof),
            Self::Words | Self::Elsewhere(_) => None,
        }
    }
}

async fn prove(proof: Proof, stage: &Stage) {
    match proof {
        Proof::AnsweredAtOnce => proofs::answered_at_once(stage).await,
        Proof::Arrives => proofs::arrives(stage).await,
        Proof::Configured => proofs::configured(stage).await,
        Proof::FiveSeconds => retries::five_seconds(stage).await,
        Proof::Groups => proofs::groups(stage).await,
        Proof::HttpRefused => proofs::http_refused(stage).await,
        Proof::Logged => retries::logged(stage).await,
        Proof::Payloads => proofs::payloads(stage).await,
        Proof::Schedule => retries::schedule(stage).await,
        Proof::SecretShown => proofs::secret_shown(stage).await,
        Proof::Signed => proofs::signed(stage).await,
        Proof::SixAttempts => retries::six_attempts(stage).await,
        Proof::SourceAddress => proofs::source_address(stage).await,
        Proof::Status => proofs::status(stage).await,
        Proof::TestSent => proofs::test_sent(stage).await,
        Proof::Types => proofs::types(stage).await,
        Proof::Unique => proofs::unique(stage).await,
    }
}

#[test]
fn the_page_is_quoted_whole_and_in_order() {
    let lines: Vec<&str> = PAGE.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let quotes: Vec<&str> = QUOTES.iter().map(|(quote, _)| *quote).collect();
    assert_eq!(quotes, lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_page_is_true() {
    let _machine = wait::the_machine().await;
    let stage = Arc::new(Stage::set().await);
    let wanted: BTreeSet<Proof> = QUOTES.iter().filter_map(|(_, by)| by.proof()).collect();
    let mut proofs = JoinSet::new();
    for proof in wanted {
        let stage = Arc::clone(&stage);
        proofs.spawn(async move { (proof, tokio::spawn(async move { prove(proof, &stage).await }).await) });
    }
    let mut broken = Vec::new();
    while let Some(ended) = proofs.join_next().await {
        let (proof, outcome) = ended.expect("its panics are caught");
        if let Err(error) = outcome {
            let panic = error.into_panic();
            let said = panic.downcast_ref::<String>().cloned();
            broken.push((
                proof,
                said.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default(),
            ));
        }
    }
    let (summary, faults) = judge(&broken);
    println!("{summary}");
    assert!(faults.is_empty(), "{} lines of the page are not true:\n{}", faults.len(), faults.join("\n"));
}

/// What is proved and what is not, and the lines whose proof was broken.
fn judge(broken: &[(Proof, String)]) -> (String, Vec<String>) {
    let (mut told, mut faults) = (String::new(), Vec::new());
    for (quote, by) in QUOTES {
        match by {
            By::Words | By::Proved(_) => {}
            By::Elsewhere(test) => told.push_str(&format!("proved by {test}: {quote}\n")),
            By::Both(_, test) => told.push_str(&format!("proved by {test} too: {quote}\n")),
        }
        if let Some((_, said)) = broken.iter().find(|(proof, _)| by.proof() == Some(*proof)) {
            faults.push(format!("  {quote}\n    {said}"));
        }
    }
    let count = |wanted: fn(&By) -> bool| QUOTES.iter().filter(|(_, by)| wanted(by)).count();
    let words = count(|by| matches!(by, By::Words));
    let proved = QUOTES.len() - words;
    told.push_str(&format!("the page: {proved} lines proved, {words} claim nothing"));
    (told, faults)
}
