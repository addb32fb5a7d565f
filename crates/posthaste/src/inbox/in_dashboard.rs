//! The inbox as the API and the dashboard see it.

use server::{InboxBox, InboxRequest};

use crate::inbox::answer::Answer;
use crate::inbox::log::{Log, Received};
use crate::inbox::{Inbox, url};

/// How many requests are shown.
const SHOWN: usize = 100;

impl Inbox {
    fn shown(&self, name: &str, log: &Log) -> InboxBox {
        InboxBox {
            name: name.to_owned(),
            url: url(self.port, name),
            answer: log.answer().name().to_owned(),
            said: log.answer().said().to_owned(),
            answers: Answer::ALL.iter().map(|(name, _)| *name).collect(),
            received: log.count(),
        }
    }
}

impl server::Inbox for Inbox {
    fn boxes(&self) -> Vec<InboxBox> {
        self.boxes.keys().filter_map(|name| Some(self.shown(name, &*self.log(name)?))).collect()
    }

    fn requests(&self, name: &str) -> Option<Vec<InboxRequest>> {
        Some(self.log(name)?.latest(SHOWN).into_iter().map(request).collect())
    }

    fn switch(&self, name: &str, answer: &str) -> Option<()> {
        let (_, answer) = Answer::ALL.iter().find(|(known, _)| *known == answer)?;
        self.log(name)?.switch(*answer);
        Some(())
    }
}

fn request(received: Received) -> InboxRequest {
    InboxRequest {
        number: received.number,
        received_at: received.received_at,
        headers: received.headers,
        body: received.body,
        event: received.event,
        delivery: received.delivery,
        attempt: received.attempt,
        verified: received.signature.fits(),
        signature: received.signature_said.to_owned(),
        answered: received.answered,
    }
}
