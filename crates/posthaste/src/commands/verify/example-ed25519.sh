# The body's raw bytes in body.json, the whole whpk_… string in PUBLIC_KEY, the headers webhook-id, webhook-timestamp and
# webhook-signature in ID, TIMESTAMP and SIGNATURES. With OpenSSL 3. Refuse a TIMESTAMP that is more than 5 minutes old, too.
{ printf '\060\052\060\005\006\003\053\145\160\003\041\000'; printf '%s' "${PUBLIC_KEY#whpk_}" | openssl base64 -d -A; } > key.der
{ printf '%s.%s.' "$ID" "$TIMESTAMP"; cat body.json; } > signed
found=invalid
for one in $SIGNATURES; do
  case $one in v1a,*)
    printf '%s' "${one#v1a,}" | openssl base64 -d -A > signature
    openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in signed -sigfile signature > /dev/null 2>&1 && found=valid
  esac
done
echo "$found"
