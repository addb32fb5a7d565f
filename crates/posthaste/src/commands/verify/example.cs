using System.Security.Cryptography;
using System.Text;

static class Webhooks
{
    // payload: the raw body; signature: the header X-CronDB-Signature.
    public static bool Verify(byte[] payload, string signature, string secret)
    {
        var mac = HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), payload);
        var computed = "sha256=" + Convert.ToHexString(mac).ToLowerInvariant();
        return CryptographicOperations.FixedTimeEquals(
            Encoding.UTF8.GetBytes(computed), Encoding.UTF8.GetBytes(signature));
    }
}
