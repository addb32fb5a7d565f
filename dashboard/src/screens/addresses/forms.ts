// A list of addresses in the forms that firewalls take.

/** Each form with its name. */
export function forms(addresses: string[]) {
  const cidr = addresses.map((address) => `${address}/${address.includes(":") ? 128 : 32}`);
  return [
    { name: "List", text: addresses.join("\n") },
    { name: "CIDR", text: cidr.join(", ") },
    { name: "nginx", text: [...addresses.map((address) => `allow ${address};`), "deny all;"].join("\n") },
    { name: "ufw", text: addresses.map((address) => `ufw allow proto tcp from ${address} to any port 443`).join("\n") },
  ];
}
