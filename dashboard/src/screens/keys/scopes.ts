// What a key may do, in words; the names are the API's.

export const SCOPES: { scope: string; says: string; usual?: boolean }[] = [
  { scope: "account", says: "Read and manage everything of the account", usual: true },
  { scope: "events:write", says: "Post events" },
  { scope: "events:read", says: "Read events" },
  { scope: "webhooks:read", says: "Read webhooks and their figures" },
  { scope: "webhooks:write", says: "Create, change, pause, test and delete webhooks" },
  { scope: "deliveries:read", says: "Read deliveries and attempts" },
  { scope: "deliveries:write", says: "Replay and cancel deliveries" },
  { scope: "secrets:read", says: "See signing secrets" },
  { scope: "secrets:write", says: "Rotate signing secrets" },
  { scope: "keys:read", says: "List keys" },
  { scope: "keys:write", says: "Create and revoke keys" },
  { scope: "audit:read", says: "Read the audit log" },
];
