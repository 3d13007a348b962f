// Garbage: objects of all ages, for the collector's threads.
import java.util.HashMap;
import java.util.Map;

public class Busy {
    static final Object[] KEPT = new Object[1 << 16];

    public static void main(String[] arguments) {
        for (int round = 0; ; round++) {
            KEPT[round % KEPT.length] = new HashMap<>(Map.of(round, new byte[100 + round % 1000]));
        }
    }
}
