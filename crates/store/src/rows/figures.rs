//! Figures as every store keeps them.

use domain::attempt::ErrorCode;
use domain::stats::{Figures, Histogram, Miss};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::damaged::Damaged;
use super::delivery::{error_code, error_number};

/// The first byte of what is stored: how the rest is to be read.
const LAYOUT: u8 = 1;
/// What is stored of [`Figures`].
#[derive(Serialize, Deserialize)]
struct Stored {
    delivered: u64,
    delivered_after_retry: u64,
    failed: u64,
    cancelled: u64,
    succeeded: u64,
    misses_in_a_row: u64,
    last_attempt_at: Option<i64>,
    last_success_at: Option<i64>,
    /// By the error's number, or by the status code, which is never that small.
    misses: Vec<(u16, u64)>,
    latency: Histogram,
}

/// Figures as they are stored.
pub(crate) fn encode(figures: &Figures) -> Result<Vec<u8>, Damaged> {
    let number = |miss: &Miss| miss.status.unwrap_or(error_number(miss.code) as u16);
    let stored = Stored {
        delivered: figures.delivered,
        delivered_after_retry: figures.delivered_after_retry,
        failed: figures.failed,
        cancelled: figures.cancelled,
        succeeded: figures.succeeded,
        misses_in_a_row: figures.misses_in_a_row,
        last_attempt_at: figures.last_attempt_at.map(|at| at.0),
        last_success_at: figures.last_success_at.map(|at| at.0),
        misses: figures.misses.iter().map(|(miss, count)| (number(miss), *count)).collect(),
        latency: figures.latency.clone(),
    };
    postcard::to_extend(&stored, vec![LAYOUT]).map_err(|error| Damaged::of("figures", error))
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(bytes: &[u8]) -> Option<Figures> {
    let (&LAYOUT, rest) = bytes.split_first()? else { return None };
    let stored: Stored = postcard::from_bytes(rest).ok()?;
    let misses =
        stored.misses.into_iter().map(|(number, count)| Some((miss(number)?, count))).collect::<Option<_>>()?;
    Some(Figures {
        delivered: stored.delivered,
        delivered_after_retry: stored.delivered_after_retry,
        failed: stored.failed,
        cancelled: stored.cancelled,
        succeeded: stored.succeeded,
        misses,
        latency: stored.latency,
        misses_in_a_row: stored.misses_in_a_row,
        last_attempt_at: stored.last_attempt_at.map(Timestamp),
        last_success_at: stored.last_success_at.map(Timestamp),
    })
}

fn miss(number: u16) -> Option<Miss> {
    let code = match number {
        300..400 => ErrorCode::Http3xx,
        400..500 => ErrorCode::Http4xx,
        500..600 => ErrorCode::Http5xx,
        _ => return Some(Miss { code: error_code(number.into())?, status: None }),
    };
    Some(Miss { code, status: Some(number) })
}
