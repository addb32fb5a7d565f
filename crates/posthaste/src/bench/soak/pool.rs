//! Kept connections to the server that many use, and doing things at a pace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::tally::Tally;
use crate::bench::Failed;
use crate::bench::load::{Answer, Connection, Target};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections are kept: a busy moment should not be seen in the server's descriptors for the rest of the run.
const IDLE_MAX: usize = 8;

/// Connections to the server with one key, or none.
pub(super) struct Pool {
    target: Target,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(target: Target) -> Arc<Self> {
        Arc::new(Self { target, idle: Mutex::default() })
    }

    /// Another one that uses this key, or none.
    pub(super) fn with(&self, key: Option<&str>) -> Arc<Self> {
        Self::new(Target { key: key.map(Arc::from), ..self.target.clone() })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Closes what is not used now.
    pub(super) fn close(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(Connection::is_open);
        idle.pop()
    }

    /// Asks, over a connection that is kept or a new one.
    ///
    /// # Errors
    /// [`Failed`]: no answer within a minute, or none at all.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, Failed> {
        let lost = |why: &str| Failed(format!("{method} {path}: {why}"));
        // The server may close a connection that was idle for long in the very moment in which it is used.
        let mut kept = self.kept();
        loop {
            let (mut connection, new) = match kept.take() {
                Some(connection) => (connection, false),
                None => (Connection::open(&self.target).await?, true),
            };
            let asked = connection.ask(method.clone(), path, headers, body.clone());
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => {
                    let mut idle = self.idle();
                    if connection.is_open() && idle.len() < IDLE_MAX {
                        idle.push(connection);
                    }
                    drop(idle);
                    return Ok(answer);
                }
                Ok(Err(Failed(why))) if new => return Err(lost(&why)),
                Ok(Err(_)) => {}
                Err(_) => return Err(lost("no answer within a minute")),
            }
        }
    }

    /// Asks with a JSON body, or none.
    ///
    /// # Errors
    /// Those of [`Self::ask`].
    pub(super) async fn json(&self, method: Method, path: &str, body: &Value) -> Result<Answer, Failed> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.ask(method, path, &[], body).await
    }

    /// What is at a path, as JSON; null where there is nothing.
    ///
    /// # Errors
    /// Those of [`Self::ask`].
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failed> {
        let answer = self.ask(Method::GET, path, &[], Bytes::new()).await?;
        Ok(if answer.status == StatusCode::OK { read(&answer) } else { Value::Null })
    }
}

/// An answer's body as JSON; null if it is none.
pub(super) fn read(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// Does something every `gap`, `most` at once, until no more is asked for; returns once all of it has ended. What fails is a
/// fault.
pub(super) async fn at_pace<F>(tally: Arc<Tally>, gap: Duration, most: usize, act: impl Fn(u64) -> F)
where
    F: Future<Output = Result<(), Failed>> + Send + 'static,
{
    let mut ticks = tokio::time::interval(gap);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let told = |ended: Result<Result<(), Failed>, tokio::task::JoinError>| match ended {
        Ok(Ok(())) => {}
        Ok(Err(Failed(why))) => tally.fault(why),
        Err(error) => tally.fault(format!("the load has failed: {error}")),
    };
    for n in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = tally.pause(Duration::MAX) => {}
        }
        while let Some(ended) = running.try_join_next() {
            told(ended);
        }
        if running.len() >= most
            && let Some(ended) = running.join_next().await
        {
            told(ended);
        }
        if tally.is_over() {
            break;
        }
        running.spawn(act(n));
    }
    while let Some(ended) = running.join_next().await {
        told(ended);
    }
}
