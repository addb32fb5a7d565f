//! What people do: they make webhooks, pause and resume them, replay and cancel deliveries.

use domain::filter::DeliveryFilter;
use domain::id::DeliveryId;
use domain::order::Order;
use domain::replay::{Cause, Replay, ReplayChange, Scope, State};
use domain::store::{Change, ChangeError};
use domain::webhook::{Held, Pause, PauseCause};

use crate::ledger::Violation;
use crate::world::{ACCOUNTS, World};

/// Accounts and webhooks to begin with.
pub(crate) fn settle_in(world: &mut World) -> Result<(), Violation> {
    for account in 1..=ACCOUNTS {
        world.disk.make_account(account);
        for _ in 0..1 + world.chance.u32(..3) {
            make_webhook(world, account)?;
        }
    }
    Ok(())
}

fn make_webhook(world: &mut World, account: u32) -> Result<(), Violation> {
    let filters = ["*", "alert.*", "alert.rule_created", "enrichment.completed"];
    let filter = filters[world.chance.usize(..filters.len())];
    let rate = (world.chance.u8(..6) == 0).then_some(2);
    let now = world.now();
    let order = some_order(world);
    world.tell(format!("a webhook of account {account} takes {filter}, in order {order:?}"));
    let facts = world.disk.make_webhook(now, account, filter, rate, order);
    world.learn(facts)
}

/// No order, mostly.
fn some_order(world: &mut World) -> Option<Order> {
    let by = [None, None, None, Some("webhook"), Some("/k")][world.chance.usize(..5)];
    by.and_then(|by| Order::parse(by).ok())
}

/// Something that a person does now.
pub(crate) fn act(world: &mut World) -> Result<(), Violation> {
    let webhooks = world.disk.webhook_numbers();
    let Some(&webhook) = webhooks.get(world.chance.usize(..webhooks.len().max(1))) else { return Ok(()) };
    match world.chance.u8(..14) {
        0..=2 => {
            let cause = PauseCause::Key { name: "ops".to_owned(), reason: None };
            let pause = Pause { since: world.now(), cause };
            self::pause(world, webhook, pause)
        }
        3..=5 => resume(world, webhook),
        6 | 7 => replay_or_cancel(world),
        8 | 9 => reorder(world, webhook),
        10 => {
            let account = 1 + world.chance.u32(..ACCOUNTS);
            make_webhook(world, account)
        }
        11 | 12 => start_replay(world, webhook),
        _ if webhooks.len() > 2 => change(world, &format!("deletes webhook {webhook}"), Change::DeleteWebhook(webhook)),
        _ => Ok(()),
    }
}

/// Makes a change; a refusal is told and changes nothing.
fn change(world: &mut World, what: &str, change: Change) -> Result<(), Violation> {
    let now = world.now();
    if !matches!(change, Change::Resume { held: Held::Deliver, .. }) {
        // What was held goes another way from here on.
        world.resumed.clear();
    }
    match world.disk.change(now, change) {
        Ok(facts) => {
            world.tell(format!("somebody {what}"));
            world.cancel_later();
            world.learn(facts)
        }
        Err(ChangeError::State(why)) => {
            world.tell(format!("refused: {what}: {why}"));
            Ok(())
        }
        Err(error) => Err(Violation(format!("{what}: {error}"))),
    }
}

/// Pauses a webhook, if it is there and active.
pub(crate) fn pause(world: &mut World, webhook: u32, pause: Pause) -> Result<(), Violation> {
    let Some(mut paused) = world.disk.webhook(webhook) else { return Ok(()) };
    if paused.pause.is_some() {
        return Ok(());
    }
    let what = format!("pauses webhook {webhook}: {:?}", pause.cause);
    paused.pause = Some(pause);
    paused.version += 1;
    change(world, &what, Change::PutWebhook(Box::new(paused)))
}

/// Resumes a webhook, if it is there and paused; mostly what it holds is delivered.
pub(crate) fn resume(world: &mut World, webhook: u32) -> Result<(), Violation> {
    let Some(mut active) = world.disk.webhook(webhook) else { return Ok(()) };
    if active.pause.take().is_none() {
        return Ok(());
    }
    active.version += 1;
    active.updated_at = world.now();
    let held = if world.chance.u8(..5) == 0 { Held::Cancel } else { Held::Deliver };
    let rate = world.chance.bool().then_some(5);
    let (number, webhook) = (active.number, Box::new(active));
    if held == Held::Deliver && webhook.order.is_none() {
        world.expect_held(number);
    }
    change(world, &format!("resumes webhook {number}: {held:?}"), Change::Resume { webhook, held, rate })
}

/// Gives a webhook another order, or takes it away.
fn reorder(world: &mut World, webhook: u32) -> Result<(), Violation> {
    let Some(mut changed) = world.disk.webhook(webhook) else { return Ok(()) };
    changed.order = some_order(world);
    changed.version += 1;
    let what = format!("puts webhook {webhook} in order {:?}", changed.order);
    change(world, &what, Change::PutWebhook(Box::new(changed)))
}

fn replay_or_cancel(world: &mut World) -> Result<(), Violation> {
    let seen: Vec<_> = world.ledger.seen.keys().copied().collect();
    let Some(&delivery) = seen.get(world.chance.usize(..seen.len().max(1))) else { return Ok(()) };
    if world.chance.bool() { replay(world, delivery) } else { cancel(world, delivery) }
}

fn cancel(world: &mut World, delivery: DeliveryId) -> Result<(), Violation> {
    let account = world.disk.account_of(delivery.event);
    change(world, &format!("cancels {delivery}"), Change::Cancel(account, delivery))
}

/// Sends a delivery again, whatever it is doing.
pub(crate) fn replay(world: &mut World, delivery: DeliveryId) -> Result<(), Violation> {
    let now = world.now();
    world.resumed.clear();
    let account = world.disk.account_of(delivery.event);
    match world.disk.change(now, Change::Replay(account, delivery)) {
        Ok(facts) => {
            world.tell(format!("somebody replays {delivery}"));
            world.ledger.replayed(delivery);
            world.learn(facts)
        }
        Err(ChangeError::State(why)) => {
            world.tell(format!("refused: replay {delivery}: {why}"));
            Ok(())
        }
        Err(error) => Err(Violation(format!("replay {delivery}: {error}"))),
    }
}

/// Starts a replay in bulk, of one webhook or of all of its account.
fn start_replay(world: &mut World, webhook: u32) -> Result<(), Violation> {
    let Some(found) = world.disk.webhook(webhook) else { return Ok(()) };
    let filters = ["status=failed", "status=delivered", "status=failed,cancelled", "event=alert.*", "since=1h"];
    let line = filters[world.chance.usize(..filters.len())];
    let now = world.now();
    let parsed =
        DeliveryFilter::parse_line(line, now).map_err(|refusals| Violation(format!("{line}: {refusals:?}")))?;
    let one = world.chance.bool();
    let filter = DeliveryFilter { webhook: one.then(|| found.id.clone()), ..parsed };
    let scope = Scope { account: found.account, webhook: one.then_some(webhook), filter, now, sending: Vec::new() };
    world.replays += 1;
    let id = format!("rpl_{}", world.replays).parse().map_err(|_| Violation("no id".to_owned()))?;
    let rate = world.chance.bool().then_some(3);
    let (replay, covers) = world.disk.prepare(&scope, Replay::new(id, &scope, rate, "ops"));
    let number = replay.number;
    let what = format!("starts replay {number} of {} deliveries: {}", covers.len(), scope.filter);
    if !covers.is_empty() {
        world.disturb_the_replay();
    }
    world.ledger.bulk.entry(number).or_default().covers = covers.into_iter().collect();
    change(world, &what, Change::BulkReplay(ReplayChange::Start(Box::new(replay))))
}

/// Pauses, resumes or stops a replay that is not over.
pub(crate) fn change_replay(world: &mut World) -> Result<(), Violation> {
    let mut replays = world.disk.replays();
    replays.retain(|replay| !replay.ended());
    let Some(replay) = replays.get(world.chance.usize(..replays.len().max(1))) else { return Ok(()) };
    let (number, account) = (replay.number, replay.account);
    let cause = Cause::Key { name: "ops".to_owned(), reason: None };
    let (what, asked) = match replay.state {
        _ if world.chance.u8(..4) == 0 => {
            ("stops", ReplayChange::Stop { account, replay: number, by: "ops".to_owned() })
        }
        State::Paused { .. } => ("resumes", ReplayChange::Resume { account, replay: number, rate: None }),
        State::Preparing | State::Running | State::Stopped { .. } | State::Done { .. } => {
            ("pauses", ReplayChange::Pause { account, replay: number, cause })
        }
    };
    change(world, &format!("{what} replay {number}"), Change::BulkReplay(asked))
}

/// Lets every replay that stands still go on.
pub(crate) fn resume_replays(world: &mut World) -> Result<(), Violation> {
    for replay in world.disk.replays() {
        if matches!(replay.state, State::Paused { .. }) {
            let number = replay.number;
            let resume = ReplayChange::Resume { account: replay.account, replay: number, rate: None };
            change(world, &format!("resumes replay {number}"), Change::BulkReplay(resume))?;
        }
    }
    Ok(())
}
