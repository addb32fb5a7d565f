//! Reading an answer of lines, whole ones only.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// An answer of lines.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    /// What came of a line that is not whole yet.
    rest: Vec<u8>,
}

/// The connection ended before the answer did.
#[derive(Debug)]
pub(crate) struct Lost(pub(crate) String);

impl Lines {
    pub(super) const fn new(body: Incoming) -> Self {
        Self { body, rest: Vec::new() }
    }

    /// The next whole lines, each with its line feed; `None` at the answer's end.
    ///
    /// # Errors
    /// [`Lost`], also where the answer ends within a line.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Lost> {
        loop {
            let Some(frame) = self.body.frame().await else {
                return if self.rest.is_empty() { Ok(None) } else { Err(Lost("it ended within a line".to_owned())) };
            };
            let frame = frame.map_err(|error| Lost(error.to_string()))?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.rest.extend_from_slice(&bytes);
            if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
        }
    }
}
