//! The API as its users see it: requests go through the router, and the store below is the real one.

mod accounts;
mod deliveries;
mod description;
mod events;
mod every_route;
mod idempotency;
mod keys;
mod pages;
mod sign_in;
mod socket;
mod store;
mod stream;
mod tests_of_webhooks;
mod webhooks;
mod world;
