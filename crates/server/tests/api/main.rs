//! The API as its users see it: requests go through the router, and the store below is the real one.

mod accounts;
mod audit;
mod dashboard;
mod deliveries;
mod description;
mod dispatcher;
mod events;
mod every_route;
mod idempotency;
mod inbox;
mod keys;
mod limits;
mod pages;
mod replays;
mod sessions;
mod sign_in;
mod signing;
mod slow;
mod socket;
mod stats;
mod store;
mod stream;
mod tests_of_webhooks;
mod webhook_actions;
mod webhooks;
mod world;
