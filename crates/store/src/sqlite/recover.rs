//! Recovery: what memory holds, rebuilt from the store when it is opened.

use std::sync::Arc;

use domain::id::DeliveryId;
use domain::store::Fact;
use rusqlite::Connection;

use super::data_dir::DataDir;
use super::engine::{Engine, Parts, Staged, fresh_delivery, nonce};
use super::fault::Fault;
use super::retain::Shrinking;
use super::shared::Shared;
use super::sizes::Sizes;
use super::stamps::{Stamps, micros};
use super::young::Young;
use super::{
    accounts, cancelling, counted, deliveries, due, event_types, events, first_figures, journal, keys, marks, sessions,
    webhooks,
};
use crate::rows::first::first_account;
pub(super) use crate::rows::first::{opens, seal_key_check};
use crate::rows::names::Names;

impl Engine {
    /// The engine over an open file, and what a scheduler has to know first.
    pub(super) fn recover(conn: Connection, dir: DataDir, parts: Parts<'_>) -> Result<(Self, Vec<Fact>), RecoverFault> {
        let Parts { vault, directory, limits, mut chance, now, .. } = parts;
        // A mark whose name was damaged would be taken for one that was never set.
        marks::verify(&conn)?;
        match marks::get(&conn, marks::KEY_CHECK)? {
            None => {
                let first = conn.unchecked_transaction().map_err(Fault::from)?;
                let nonce = nonce(&mut chance);
                marks::set(&first, marks::KEY_CHECK, &seal_key_check(&vault, nonce))?;
                let mut account = first_account(now).map_err(Fault::from)?;
                accounts::insert(&first, &mut account)?;
                first.commit().map_err(Fault::from)?;
            }
            Some(sealed) if !opens(&vault, &sealed) => return Err(RecoverFault::OtherKey),
            Some(_) => {}
        }
        let rolled = match counted::rolled(&conn)? {
            Some(rolled) => rolled,
            None => first_figures::build(&conn, now)?,
        };
        let types = event_types::load(&conn)?;
        let gone =
            webhooks::load_gone(&conn)?.into_iter().map(|(number, account, id)| (number, (account, id))).collect();
        let shared = Arc::new(Shared::new(dir.database.clone(), vault, Names::new(directory, types, gone)));
        let stamps = Stamps::after(marks::number(&conn, marks::RESERVED)?.unwrap_or(0));
        let sizes = Sizes::load(&conn)?;
        let (journaled, young) = (journal::rows(&conn)?, Young::load(&conn)?);
        let mut engine = Self {
            conn,
            shared,
            stamps,
            limits,
            staged: Staged::default(),
            turn: 0,
            marked_turn: 0,
            retained_after: 0,
            rolled,
            journaled,
            young,
            sizes,
            shrinking: Shrinking::default(),
            resuming: None,
            buffer: Vec::new(),
            chance,
            data_dir: dir,
        };
        let facts = engine.fill_memory()?;
        Ok((engine, facts))
    }

    /// Fills the memory from the store.
    fn fill_memory(&mut self) -> Result<Vec<Fact>, Fault> {
        let mut facts = Vec::new();
        let mut directory = self.shared.directory.write();
        for account in accounts::load(&self.conn)? {
            directory.put_account(Arc::new(account));
        }
        let account_id = |number| directory.account_numbered(number).map(|account| account.id.clone());
        for webhook in webhooks::load(&self.conn, &self.shared.vault, account_id)?.into_iter().map(Arc::new) {
            facts.push(Fact::Webhook(webhook));
        }
        for fact in &facts {
            if let Fact::Webhook(webhook) = fact {
                directory.put_webhook(Arc::clone(webhook));
            }
        }
        for key in keys::load(&self.conn)? {
            directory.put_key(Arc::new(key));
        }
        for session in sessions::load(&self.conn)? {
            directory.put_session(Arc::new(session));
        }
        drop(directory);
        let left = cancelling::load(&self.conn)?.into_iter();
        self.shared.cancelling_mut().extend(left.map(|(webhook, account, at)| (webhook, (account, at))));
        let mut fresh = self.shared.fresh_mut();
        for (webhook, number) in due::numbers(&self.conn)? {
            fresh.add_on_disk(webhook, number);
        }
        drop(fresh);
        self.recover_fresh(&mut facts)?;
        facts.extend(self.recover_replays()?);
        Ok(facts)
    }

    /// Finds the deliveries that have no row: those of events from the mark on that the deliveries' table does not know.
    fn recover_fresh(&mut self, facts: &mut Vec<Fact>) -> Result<(), Fault> {
        let from = marks::number(&self.conn, marks::ROWS_BELOW)?.unwrap_or(0) as u64;
        let mut rows = deliveries::ids_from(&self.conn, from)?.into_iter().peekable();
        let types = self.shared.types();
        let directory = self.shared.directory.read();
        let cancelling = self.shared.cancelling();
        let mut fresh = self.shared.fresh_mut();
        let turn = &mut self.turn;
        events::each_from(&self.conn, &types, from, |event| {
            *turn += 1;
            let mut on_disk = vec![false; event.targets.len()];
            while let Some(id) = rows.next_if(|id| id.event <= event.id) {
                if id.event == event.id
                    && let Some(place) = on_disk.get_mut(usize::from(id.place))
                {
                    *place = true;
                }
            }
            // A closed account's events are being erased: nobody waits for them any more.
            if directory.account_numbered(event.account).is_none() {
                return Ok(());
            }
            let event_type = types.number(&event.event_type).unwrap_or_default();
            for (place, _) in (0u16..).zip(&on_disk).filter(|(_, on_disk)| !**on_disk) {
                let delivery = fresh_delivery(&event, place, event_type, micros(event.id), *turn);
                fresh.insert(DeliveryId { event: event.id, place }, delivery);
            }
            // What is left of a deleted webhook is cancelled by and by, and waits for nobody.
            for (webhook, on_disk) in event.targets.iter().zip(&mut on_disk) {
                *on_disk |= cancelling.contains_key(webhook);
            }
            if on_disk.contains(&false) {
                facts.push(Fact::Accepted { event, on_disk });
            }
            Ok(())
        })
    }
}

/// Why a store could not be recovered.
pub(super) enum RecoverFault {
    OtherKey,
    Fault(Fault),
}

impl From<Fault> for RecoverFault {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
