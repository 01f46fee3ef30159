import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Executors;

/** A page that logs in by scanning, and a backend that knows who asks. The JDK alone (17 or later). */
final class Shop {
    private Shop() {}

    public static void main(String[] arguments) throws IOException {
        String service = env("SERVICE", "http://127.0.0.1:8080");
        Verifier verifier = new Verifier(new KeySet(service), env("ISSUER", "scanlogin"), env("AUDIENCE", "shop"));
        String page = Files.readString(Path.of(env("PAGE", "../page.html"))).replace("{{service}}", service);

        var address = new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(env("PORT", "8000")));
        HttpServer server = HttpServer.create(address, 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            boolean known = exchange.getRequestURI().getPath().equals("/");
            answer(exchange, known ? 200 : 404, "text/html; charset=utf-8", known ? page : "");
        });
        server.createContext("/me", exchange -> {
            Optional<String> user = bearer(exchange).flatMap(verifier::userOf);
            exchange.getResponseHeaders().set("Cache-Control", "no-store");
            String body = user.map(name -> "{\"user\":" + quoted(name) + "}").orElse("{\"error\":\"not logged in\"}");
            answer(exchange, user.isPresent() ? 200 : 401, "application/json", body);
        });
        server.start();
        System.out.println("http://127.0.0.1:" + address.getPort() + "/");
    }

    private static Optional<String> bearer(HttpExchange exchange) {
        return Optional.ofNullable(exchange.getRequestHeaders().getFirst("Authorization"))
                .filter(value -> value.startsWith("Bearer "))
                .map(value -> value.substring("Bearer ".length()));
    }

    private static void answer(HttpExchange exchange, int status, String type, String text) throws IOException {
        try (exchange) {
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", type);
            exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
        }
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("[\\x00-\\x1f]", "?") + '"';
    }

    private static String env(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
