import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** A client of the gateway with pgjdbc: it says what came of each step. */
public class Peer {
  interface Step {
    Object run() throws Exception;
  }

  static String env(String name) {
    return System.getenv("PEER_" + name);
  }

  static void say(String key, Object value) {
    System.out.println(key + "\t" + String.valueOf(value).replace('\n', ' '));
    System.out.flush();
  }

  static void step(String key, Step s) {
    try {
      say(key, s.run());
    } catch (Exception e) {
      say(key, error(e));
    }
  }

  static String error(Exception e) {
    if (e instanceof PSQLException && ((PSQLException) e).getServerErrorMessage() != null) {
      ServerErrorMessage m = ((PSQLException) e).getServerErrorMessage();
      return m.getSeverity() + " " + m.getSQLState() + ": " + m.getMessage() + (m.getHint() == null ? "" : " HINT: " + m.getHint());
    }
    if (e instanceof SQLException) {
      return "SQLException " + ((SQLException) e).getSQLState() + ": " + e.getMessage();
    }
    return e.toString();
  }

  static Connection connect(String host, String ca) throws SQLException {
    Properties p = new Properties();
    p.setProperty("user", env("USER"));
    p.setProperty("password", env("PASSWORD"));
    p.setProperty("sslmode", "verify-full");
    p.setProperty("sslrootcert", ca);
    p.setProperty("connectTimeout", "10");
    return DriverManager.getConnection("jdbc:postgresql://" + host + ":" + env("PORT") + "/" + env("DATABASE"), p);
  }

  static String one(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
      r.next();
      return r.getString(1);
    }
  }

  static void run(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement()) {
      s.execute(sql);
    }
  }

  public static void main(String[] args) throws Exception {
    step("wrong ca", () -> connect(env("HOST"), env("WRONG_CA")));
    step("wrong name", () -> connect("localhost", env("CA")));
    Connection c = connect(env("HOST"), env("CA"));
    step("simple", () -> one(c, "select count(*) from orders"));
    step("prepared", () -> { // on the server from the fifth time on
      int sum = 0;
      try (PreparedStatement s = c.prepareStatement("select total from orders where id = ?")) {
        for (int i = 1; i <= 20; i++) {
          s.setInt(1, i);
          try (ResultSet r = s.executeQuery()) {
            r.next();
            sum += r.getInt(1);
          }
        }
      }
      return sum;
    });
    step("batch", () -> {
      try (PreparedStatement s = c.prepareStatement("insert into blobs values (?, ?)")) {
        for (int i = 1; i <= 500; i++) {
          s.setInt(1, -i);
          s.setString(2, "batch");
          s.addBatch();
        }
        int n = 0;
        for (int one : s.executeBatch()) {
          n += one;
        }
        return n;
      }
    });
    step("cursor", () -> {
      c.setAutoCommit(false);
      int n = 0;
      try (Statement s = c.createStatement()) {
        s.setFetchSize(100);
        try (ResultSet r = s.executeQuery("select * from orders")) {
          while (r.next()) {
            n++;
          }
        }
      }
      c.commit();
      c.setAutoCommit(true);
      return n;
    });
    CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
    step("copy in", () -> copy.copyIn("copy blobs from stdin", new StringReader("1\ta\n2\tb\n3\tc\n")));
    step("copy out", () -> {
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      long n = copy.copyOut("copy orders to stdout", out);
      return n + " " + out.toString("UTF-8").lines().count();
    });
    step("large out", () -> one(c, "select repeat('x', 16 * 1024 * 1024)").length());
    step("large in", () -> {
      try (PreparedStatement s = c.prepareStatement("select length(?::text)")) {
        s.setString(1, "x".repeat(16 * 1024 * 1024));
        try (ResultSet r = s.executeQuery()) {
          r.next();
          return r.getInt(1);
        }
      }
    });
    step("cancel", () -> {
      try (Statement s = c.createStatement()) {
        s.setQueryTimeout(1);
        s.execute("select pg_sleep(60)");
        return "slept";
      }
    });
    step("after cancel", () -> one(c, "select 'here'"));
    step("denied", () -> one(c, "select * from customers"));
    step("listen", () -> {
      run(c, "listen x");
      return "listens";
    });
    c.setAutoCommit(false);
    step("begun", () -> one(c, "select 1"));
    step("refused within", () -> {
      run(c, "listen x");
      return "listens";
    });
    step("failed within", () -> one(c, "select 2"));
    c.rollback();
    c.setAutoCommit(true);
    step("after rollback", () -> one(c, "select 3"));
    say("waiting", "");
    step("end", () -> one(c, "select pg_sleep(60)"));
    step("usable", () -> c.isValid(2));
    step("again", () -> connect(env("HOST"), env("CA")));
  }
}
