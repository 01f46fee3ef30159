import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** As much JSON as tokens and key sets need. It stands in for your JSON library, so that this runs on the JDK alone. */
final class Json {
    private static final int DEEPEST = 8;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** Numbers become {@code Double}s. Throws {@code IllegalArgumentException} where the text is no JSON object. */
    static Map<?, ?> object(String text) {
        Json json = new Json(text);
        if (json.value(0) instanceof Map<?, ?> object && json.peek() == 0) return object;
        throw new IllegalArgumentException("no JSON object");
    }

    /** The next sign that is no space, 0 at the end. */
    private char peek() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
        return at < text.length() ? text.charAt(at) : 0;
    }

    private boolean skip(char sign) {
        if (peek() != sign) return false;
        at++;
        return true;
    }

    private void demand(boolean good) {
        if (!good) throw new IllegalArgumentException("no JSON at " + at);
    }

    private Object value(int depth) {
        demand(depth < DEEPEST);
        if (skip('{')) {
            Map<String, Object> object = new HashMap<>();
            while (!skip('}')) {
                demand(object.isEmpty() || skip(','));
                String name = string();
                demand(skip(':'));
                object.put(name, value(depth + 1));
            }
            return object;
        }
        if (skip('[')) {
            List<Object> list = new ArrayList<>();
            while (!skip(']')) {
                demand(list.isEmpty() || skip(','));
                list.add(value(depth + 1));
            }
            return list;
        }
        if (peek() == '"') return string();
        int from = at;
        while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) at++;
        String word = text.substring(from, at);
        return switch (word) {
            case "true", "false" -> Boolean.valueOf(word);
            case "null" -> null;
            default -> Double.valueOf(word);
        };
    }

    private String string() {
        demand(skip('"'));
        StringBuilder string = new StringBuilder();
        while (true) {
            demand(at < text.length());
            char sign = text.charAt(at++);
            if (sign == '"') return string.toString();
            string.append(sign == '\\' ? escaped() : sign);
        }
    }

    private char escaped() {
        demand(at < text.length());
        char sign = text.charAt(at++);
        if (sign == 'u') {
            demand(at + 4 <= text.length());
            at += 4;
            return (char) Integer.parseInt(text.substring(at - 4, at), 16);
        }
        int which = "bfnrt".indexOf(sign);
        return which < 0 ? sign : "\b\f\n\r\t".charAt(which);
    }
}
