import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.PublicKey;
import java.security.Signature;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;
import java.util.Optional;

/** Checks web tokens by the service's public keys. It sees no log-out: ask /verify where that matters. */
record Verifier(KeySet keys, String issuer, String audience) {
    private static final long LEEWAY_SECONDS = 30;

    /** Whose token it is, if it is good. */
    Optional<String> userOf(String token) {
        try {
            String[] parts = token.split("\\.", -1);
            if (parts.length != 3) return Optional.empty();
            Map<?, ?> header = json(parts[0]);
            // Which algorithm is ours to say, never the token's; and typ tells a web token from any other of the same key.
            if (!"EdDSA".equals(header.get("alg")) || !"scanlogin+jwt".equals(header.get("typ"))) return Optional.empty();
            if (!(header.get("kid") instanceof String kid)) return Optional.empty();
            byte[] signed = (parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII);
            if (!isSigned(keys.get(kid), signed, Base64.getUrlDecoder().decode(parts[2]))) return Optional.empty();

            Map<?, ?> claims = json(parts[1]);
            boolean good = issuer.equals(claims.get("iss"))
                    && audience.equals(claims.get("aud"))
                    && "web".equals(claims.get("platform"))
                    && claims.get("exp") instanceof Double expires
                    && Instant.now().getEpochSecond() < expires + LEEWAY_SECONDS;
            return good && claims.get("sub") instanceof String user ? Optional.of(user) : Optional.empty();
        } catch (IllegalArgumentException | GeneralSecurityException malformed) {
            return Optional.empty();
        }
    }

    private static Map<?, ?> json(String part) {
        return Json.object(new String(Base64.getUrlDecoder().decode(part), StandardCharsets.UTF_8));
    }

    private static boolean isSigned(PublicKey key, byte[] signed, byte[] bytes) throws GeneralSecurityException {
        if (key == null) return false;
        Signature signature = Signature.getInstance("Ed25519");
        signature.initVerify(key);
        signature.update(signed);
        return signature.verify(bytes);
    }
}
