//! Records of attempts: the bytes that every store keeps of one.

use domain::attempt::{Attempt, LoggedAttempt};
use domain::id::{AttemptId, DeliveryId, ReplayId};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::damaged::Damaged;

/// How many bytes of a record are its checksum, at its end.
const SUM: usize = 4;

/// What an attempt has that records of layout 1 had no place for. It follows the record where there is any; the order of
/// the variants never changes.
#[derive(Serialize, Deserialize)]
enum Extra<'a> {
    /// [`domain::signature::SentRequest::ed25519`], one signature after the other.
    Ed25519(#[serde(borrow)] &'a [u8]),
}

/// Writes an attempt as it is stored: postcard, extras, and a checksum that binds it to its place. Appends to `buffer`. Its
/// number is in its key, and is taken from there when it is read.
pub(crate) fn encode(id: DeliveryId, attempt: &Attempt, number: u16, buffer: Vec<u8>) -> Result<Vec<u8>, Damaged> {
    let start = buffer.len();
    let mut record = postcard::to_extend(attempt, buffer).map_err(|error| Damaged::of(id, error))?;
    let signatures = &attempt.request.ed25519;
    if !signatures.is_empty() {
        let extra = Extra::Ed25519(signatures.as_flattened());
        record = postcard::to_extend(&extra, record).map_err(|error| Damaged::of(id, error))?;
    }
    let sum = sum(id, number, &record[start..]);
    record.extend_from_slice(&sum);
    Ok(record)
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(id: DeliveryId, number: u16, record: &[u8]) -> Result<Attempt, Damaged> {
    let damaged = || Damaged(format!("attempt {}", AttemptId { delivery: id, number }));
    let (text, stored) = record.split_last_chunk::<SUM>().ok_or_else(damaged)?;
    if *stored != sum(id, number, text) {
        return Err(damaged());
    }
    let (mut attempt, mut rest): (Attempt, _) = postcard::take_from_bytes(text).map_err(|_| damaged())?;
    while !rest.is_empty() {
        let (extra, further) = postcard::take_from_bytes(rest).map_err(|_| damaged())?;
        rest = further;
        match extra {
            Extra::Ed25519(bytes) => {
                let (signatures, odd) = bytes.as_chunks();
                if !odd.is_empty() {
                    return Err(damaged());
                }
                attempt.request.ed25519 = signatures.to_vec();
            }
        }
    }
    Ok(Attempt { number, ..attempt })
}

/// An attempt with its id, and the replay that it is part of.
pub(crate) fn logged(delivery: DeliveryId, attempt: Attempt, replay: Option<ReplayId>) -> LoggedAttempt {
    LoggedAttempt { id: AttemptId { delivery, number: attempt.number }, attempt, replay }
}

fn sum(id: DeliveryId, number: u16, text: &[u8]) -> [u8; SUM] {
    let sum = Checksum::of("attempts").numbers([id.event.0 as i64, id.place.into(), number.into()]).bytes(text).sum();
    (sum as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::attempt::{Reason, Timing};
    use domain::id::EventId;
    use domain::signature::SentRequest;
    use domain::time::Timestamp;

    use super::*;

    fn attempt(ed25519: Vec<[u8; 64]>) -> Attempt {
        Attempt {
            number: 2,
            reason: Reason::Retry,
            started_at: Timestamp(5),
            duration: Duration::from_millis(1),
            timing: Timing::default(),
            request: SentRequest {
                url: "https://example.com/".to_owned(),
                prefix: "X-CronDB".to_owned(),
                user_agent: "CronDB-Webhooks/1".to_owned(),
                signed_at: 7,
                signature: [1; 32],
                standard: vec![[2; 32]],
                ed25519,
                custom: Vec::new(),
            },
            answer: None,
            failure: None,
            remote_address: None,
        }
    }

    #[test]
    fn signatures_follow_the_record_and_records_without_are_as_they_always_were() {
        let id = DeliveryId { event: EventId(9), place: 1 };
        let written = |attempt: &Attempt| encode(id, attempt, 2, Vec::new()).expect("it is written");
        let plain = attempt(Vec::new());
        let record = written(&plain);
        assert_eq!(record[..record.len() - SUM], postcard::to_stdvec(&plain).expect("it is written"));
        assert_eq!(decode(id, 2, &record).expect("it is read"), plain);
        let signed = attempt(vec![[3; 64], [4; 64]]);
        let record = written(&signed);
        assert_eq!(decode(id, 2, &record).expect("it is read"), signed);
        // Whole signatures, or none.
        let mut odd = record[..record.len() - SUM - 129].to_vec();
        odd.pop();
        let text = postcard::to_extend(&Extra::Ed25519(&[5; 65]), odd).expect("it is written");
        let sum = sum(id, 2, &text);
        assert!(decode(id, 2, &[&text[..], &sum].concat()).is_err());
    }
}
