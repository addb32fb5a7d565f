// What a delivery will send that has had no attempt yet: made from its event, as the sender makes it.
import { request, type Delivery, type Schema } from "../../api/client.ts";
import { memberText } from "./json.ts";

/** The body; empty where the event's data are gone. The data stay as the producer wrote them. */
export async function payload(account: string, { event_id, webhook_id }: Pick<Delivery, "event_id" | "webhook_id">, signal: AbortSignal) {
  const text = await (await request("get", `/v1/accounts/${encodeURIComponent(account)}/events/${encodeURIComponent(event_id)}`, { signal })).text();
  const { event, timestamp } = JSON.parse(text) as Schema<"EventDetail">;
  const data = memberText(text, "data");
  return data === null ? "" : `${JSON.stringify({ event, webhook_id, timestamp }).slice(0, -1)},"data":${data}}`;
}
