import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/** The service's public keys, fetched when they are needed and kept for a while. */
final class KeySet {
    private static final long KEEP_NANOS = Duration.ofMinutes(5).toNanos();
    private static final long PAUSE_NANOS = Duration.ofSeconds(10).toNanos();
    private static final Duration PATIENCE = Duration.ofSeconds(3);
    /** What stands before the 32 bytes of an Ed25519 key in the form that Java reads (RFC 8410). */
    private static final byte[] ED25519 = HexFormat.of().parseHex("302a300506032b6570032100");

    private final HttpClient client = HttpClient.newBuilder().connectTimeout(PATIENCE).build();
    private final HttpRequest request;
    private Map<String, PublicKey> keys = Map.of();
    private long fetched = System.nanoTime() - KEEP_NANOS - 1;

    KeySet(String service) {
        request = HttpRequest.newBuilder(URI.create(service + "/.well-known/jwks.json")).timeout(PATIENCE).build();
    }

    /**
     * The key of that name, or null. An unknown one may be new, so the set is fetched again, at most once in a while,
     * because anybody can make up a kid. An old set is good until a new one has come.
     */
    synchronized PublicKey get(String kid) {
        long age = System.nanoTime() - fetched;
        if (age > KEEP_NANOS || (!keys.containsKey(kid) && age > PAUSE_NANOS)) {
            fetched = System.nanoTime();
            try {
                keys = fetch();
            } catch (IOException | GeneralSecurityException | IllegalArgumentException error) {
                System.err.println("the key set: " + error);
            } catch (InterruptedException stopping) {
                Thread.currentThread().interrupt();
            }
        }
        return keys.get(kid);
    }

    private Map<String, PublicKey> fetch() throws IOException, InterruptedException, GeneralSecurityException {
        var answer = client.send(request, BodyHandlers.ofString());
        if (answer.statusCode() != 200) throw new IOException("status " + answer.statusCode());
        Map<String, PublicKey> found = new HashMap<>();
        for (Object listed : (List<?>) Json.object(answer.body()).get("keys")) {
            Map<?, ?> key = (Map<?, ?>) listed;
            if ("OKP".equals(key.get("kty")) && "Ed25519".equals(key.get("crv"))) {
                found.put((String) key.get("kid"), ed25519(Base64.getUrlDecoder().decode((String) key.get("x"))));
            }
        }
        return found;
    }

    private static PublicKey ed25519(byte[] x) throws GeneralSecurityException {
        byte[] encoded = new byte[ED25519.length + x.length];
        System.arraycopy(ED25519, 0, encoded, 0, ED25519.length);
        System.arraycopy(x, 0, encoded, ED25519.length, x.length);
        return KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(encoded));
    }
}
