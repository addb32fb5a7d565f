# The body's raw bytes in body.json, the whole whsec_… string in SECRET, the header in SIGNATURE.
computed="sha256=$(openssl dgst -sha256 -hmac "$SECRET" < body.json | sed 's/^.* //')"
[ "$computed" = "$SIGNATURE" ] && echo valid || echo invalid
