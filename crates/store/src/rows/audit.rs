//! Entries of the audit log as every store keeps them.

use std::net::IpAddr;

use domain::audit::{Act, Action, Actor, ActorKind, By, Entry};
use domain::id::AuditId;

use super::checksum::Checksum;
use super::damaged::Damaged;

/// The columns that the checksum covers.
pub(crate) struct Columns {
    pub(crate) key: i64,
    pub(crate) account: Option<u32>,
    pub(crate) action: String,
    pub(crate) actor: String,
    pub(crate) actor_id: Option<String>,
    pub(crate) actor_name: String,
    pub(crate) target: String,
    pub(crate) target_name: Option<String>,
    pub(crate) request: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) detail: String,
}

impl Columns {
    /// The columns of an act.
    pub(crate) fn of(id: AuditId, by: &By, act: Act) -> Self {
        Self {
            key: id.0 as i64,
            account: act.account,
            action: act.action.as_str().to_owned(),
            actor: by.actor.kind.as_str().to_owned(),
            actor_id: by.actor.id.clone(),
            actor_name: by.actor.name.clone(),
            target: act.target,
            target_name: act.name,
            request: by.request.clone(),
            address: by.address.map(|address| address.to_string()),
            detail: serde_json::Value::Object(act.detail).to_string(),
        }
    }

    /// The checksum of the row.
    pub(crate) fn sum(&self) -> i64 {
        let optional =
            |text: &Option<String>| text.as_ref().map_or_else(Vec::new, |text| [b"=", text.as_bytes()].concat());
        Checksum::of("audit")
            .numbers([self.key, self.account.map_or(-1, i64::from)])
            .text(&self.action)
            .text(&self.actor)
            .bytes(&optional(&self.actor_id))
            .text(&self.actor_name)
            .text(&self.target)
            .bytes(&optional(&self.target_name))
            .bytes(&optional(&self.request))
            .bytes(&optional(&self.address))
            .text(&self.detail)
            .sum()
    }

    /// The entry of a row that carries this checksum.
    pub(crate) fn entry(self, stored: i64) -> Result<Entry, Damaged> {
        let id = AuditId(self.key as u64);
        let damaged = |what: &str| Damaged::of(format_args!("audit entry {id}"), what);
        if self.sum() != stored {
            return Err(damaged("its checksum does not fit"));
        }
        let address: Option<Result<IpAddr, _>> = self.address.map(|text| text.parse());
        let address = address.transpose().map_err(|_| damaged("not an address"))?;
        let kind = ActorKind::parse(&self.actor).ok_or_else(|| damaged("an unknown actor"))?;
        let actor = Actor { kind, id: self.actor_id, name: self.actor_name };
        let act = Act {
            action: Action::parse(&self.action).ok_or_else(|| damaged("an unknown action"))?,
            account: self.account,
            target: self.target,
            name: self.target_name,
            detail: serde_json::from_str(&self.detail).map_err(|_| damaged("not its particulars"))?,
        };
        Ok(Entry { id, by: By { actor, request: self.request, address }, act })
    }
}
