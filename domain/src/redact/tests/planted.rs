//! Credentials to plant in what is sent, so that tests can look for them in what comes out. Depends
//! on nothing but std, so that any test crate can take this file in by its path.
//!
//! They have the form that the real ones have and are none: generated, and put together here so that
//! no scanner takes this file for a leak.

/// A credential.
pub struct Planted {
    /// Whose, or what for.
    pub kind: &'static str,
    /// A sentence, command or line of a log that holds it, as people and programs leak it.
    pub text: String,
    /// What may be seen of it nowhere: its beginning and its end, without what is no secret (a fixed
    /// prefix, a user's name).
    pub pieces: Vec<String>,
}

/// Characters of a credential.
enum Of {
    Mixed,
    Lower,
    Upper,
    Hex,
    Digits,
}

/// Makes characters that are the same whenever `seed` is, and other ones for each call.
struct Maker {
    state: u64,
}

impl Maker {
    fn new(seed: &str) -> Self {
        // FNV-1a.
        let start = 0xcbf2_9ce4_8422_2325_u64;
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self { state: seed.bytes().fold(start, mix) }
    }

    fn make(&mut self, of: &Of, length: usize) -> String {
        let letters: &[u8] = match of {
            Of::Mixed => b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789",
            Of::Lower => b"abcdefghijkmnopqrstuvwxyz0123456789",
            Of::Upper => b"ABCDEFGHJKLMNPQRSTUVWXYZ234567",
            Of::Hex => b"0123456789abcdef",
            Of::Digits => b"123456789",
        };
        let next = |state: &mut u64| {
            // xorshift64*, of which the upper bits are good.
            *state ^= *state >> 12;
            *state ^= *state << 25;
            *state ^= *state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize
        };
        (0..length).map(|_| char::from(letters[next(&mut self.state) % letters.len()])).collect()
    }
}

struct List {
    maker: Maker,
    all: Vec<Planted>,
}

impl List {
    /// Adds a credential of `length` characters; `{}` in `text` stands for it.
    fn add(&mut self, kind: &'static str, of: Of, length: usize, text: &str) {
        let secret = self.maker.make(&of, length);
        self.put(kind, &secret, text);
    }

    fn put(&mut self, kind: &'static str, secret: &str, text: &str) {
        let size = secret.len().min(10);
        let pieces = vec![secret[..size].to_owned(), secret[secret.len() - size..].to_owned()];
        self.all.push(Planted { kind, text: text.replace("{}", secret), pieces });
    }

    fn uuid(&mut self) -> String {
        let hex = self.maker.make(&Of::Hex, 32);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

/// One of each kind, other ones for another `seed`.
pub fn planted(seed: &str) -> Vec<Planted> {
    let mut list = List { maker: Maker::new(seed), all: Vec::new() };
    shapes(&mut list);
    names(&mut list);
    list.all
}

/// What is known by its shape, wherever it stands.
fn shapes(list: &mut List) {
    use Of::{Digits, Hex, Lower, Mixed, Upper};
    list.add("aws access key", Upper, 16, concat!("key AK", "IA{} is denied"));
    list.add("aws temporary key", Upper, 16, concat!("key AS", "IA{} has expired"));
    list.add("aws session token", Mixed, 90, concat!("token IQoJb3Jp", "Z2lu{} has expired"));
    list.add("aws bedrock key", Mixed, 120, concat!("key AB", "SK{} is denied"));
    list.add("google api key", Mixed, 35, concat!("maps refused AI", "za{}"));
    list.add("google access token", Mixed, 60, concat!("got 401 for ya", "29.{}"));
    list.add("google client secret", Mixed, 28, concat!("oauth client GOC", "SPX-{} is disabled"));
    let azure = format!("{}8Q~{}", list.maker.make(&Mixed, 3), list.maker.make(&Mixed, 34));
    list.put("azure client secret", &azure, "AADSTS7000215: {} is not valid");
    list.add(
        "azure storage key",
        Mixed,
        86,
        concat!("AccountName=logs;Account", "Key={}==;EndpointSuffix=core"),
    );
    list.add("alibaba access key", Mixed, 20, concat!("InvalidAccessKeyId LT", "AI{}"));
    list.add("github personal token", Mixed, 36, concat!("git clone failed with gh", "p_{}"));
    list.add("github oauth token", Mixed, 36, concat!("remote refused gh", "o_{}"));
    list.add("github app token", Mixed, 36, concat!("remote refused gh", "s_{}"));
    list.add("github fine grained token", Mixed, 82, concat!("remote refused github_", "pat_{}"));
    list.add("gitlab token", Mixed, 20, concat!("job used gl", "pat-{}"));
    list.add("bitbucket token", Mixed, 60, concat!("push with AT", "CTT3{} failed"));
    list.add("atlassian token", Mixed, 60, concat!("jira refused AT", "ATT3{}"));
    let slack = format!("{}-{}", list.maker.make(&Digits, 12), list.maker.make(&Mixed, 24));
    list.put("slack bot token", &slack, concat!("invalid_auth xo", "xb-{}"));
    list.add("slack app token", Mixed, 40, concat!("socket closed for xa", "pp-1-A01-{}"));
    list.add(
        "slack webhook",
        Mixed,
        24,
        concat!("POST https://hooks.sl", "ack.com/services/T0000/B0000/{} 404"),
    );
    list.add(
        "discord webhook",
        Mixed,
        68,
        "POST https://discord.com/api/webhooks/1122334455/{} 404",
    );
    let discord = format!(
        "{}.{}.{}",
        list.maker.make(&Mixed, 24),
        list.maker.make(&Mixed, 6),
        list.maker.make(&Mixed, 38)
    );
    list.put("discord bot token", &discord, "Authorization: Bot M{}");
    let telegram = format!("{}:AA{}", list.maker.make(&Digits, 9), list.maker.make(&Mixed, 33));
    list.put(
        "telegram bot token",
        &telegram,
        "POST https://api.telegram.org/bot{}/sendMessage 401",
    );
    let hook = list.uuid();
    list.put("feishu webhook", &hook, "POST https://open.feishu.cn/open-apis/bot/v2/hook/{} 9499");
    let hook = list.uuid();
    list.put("lark webhook", &hook, "POST https://open.larksuite.com/open-apis/bot/hook/{} 9499");
    let hook = list.uuid();
    list.put(
        "wecom webhook",
        &hook,
        "POST https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={} 93000",
    );
    list.add(
        "dingtalk webhook",
        Hex,
        64,
        "POST https://oapi.dingtalk.com/robot/send?access_token={} 310000",
    );
    list.add("dingtalk sign secret", Hex, 64, concat!("sign not match for SE", "C{}"));
    list.add(
        "teams webhook",
        Hex,
        32,
        "POST https://acme.webhook.office.com/webhookb2/{}/IncomingWebhook/x 404",
    );
    list.add("serverchan key", Mixed, 24, "GET https://sctapi.ftqq.com/SCT1234T{}.send 400");
    list.add("stripe secret key", Mixed, 24, concat!("No such charge with sk_", "live_{}"));
    list.add("stripe webhook secret", Mixed, 32, concat!("no signature matches wh", "sec_{}"));
    list.add("square token", Mixed, 43, concat!("401 for sq0", "atp-{}"));
    list.add("twilio api key", Hex, 32, concat!("20003 for S", "K{}"));
    let sendgrid = format!("{}.{}", list.maker.make(&Mixed, 22), list.maker.make(&Mixed, 43));
    list.put("sendgrid key", &sendgrid, concat!("mail refused for S", "G.{}"));
    list.add("mailgun key", Hex, 32, concat!("mail refused for ke", "y-{}"));
    list.add("mailchimp key", Hex, 32, concat!("list refused for {}-u", "s12"));
    list.add("npm token", Mixed, 36, concat!("npm publish with np", "m_{} failed"));
    list.add(
        "pypi token",
        Mixed,
        80,
        concat!("twine upload with py", "pi-AgEIcHlwaS5vcmc{} failed"),
    );
    list.add("rubygems key", Hex, 48, concat!("gem push with ruby", "gems_{} failed"));
    list.add("docker token", Mixed, 27, concat!("docker login with dck", "r_pat_{} failed"));
    list.add("openai key", Mixed, 48, concat!("Incorrect API key provided: s", "k-{}"));
    list.add(
        "openai project key",
        Mixed,
        60,
        concat!("Incorrect API key provided: s", "k-proj-{}"),
    );
    list.add("anthropic key", Mixed, 90, concat!("invalid x-api-key s", "k-ant-api03-{}"));
    list.add("openrouter key", Hex, 64, concat!("no auth for s", "k-or-v1-{}"));
    list.add("groq key", Mixed, 52, concat!("401 for gs", "k_{}"));
    list.add("hugging face token", Mixed, 34, concat!("401 for h", "f_{}"));
    list.add("digitalocean token", Hex, 64, concat!("401 for do", "p_v1_{}"));
    list.add("heroku key", Mixed, 58, concat!("401 for HR", "KU-AA{}"));
    list.add("databricks token", Hex, 32, concat!("403 for da", "pi{}"));
    list.add("shopify token", Hex, 32, concat!("401 for sh", "pat_{}"));
    list.add("vault token", Mixed, 90, concat!("permission denied for hv", "s.{}"));
    list.add("grafana service token", Mixed, 41, concat!("401 for gl", "sa_{}"));
    list.add("grafana cloud token", Mixed, 80, concat!("401 for gl", "c_{}"));
    list.add("sentry token", Mixed, 60, concat!("401 for sntr", "ys_{}"));
    list.add("new relic key", Upper, 27, concat!("403 for NR", "AK-{}"));
    list.add(
        "postman key",
        Hex,
        24,
        concat!("401 for PM", "AK-{}-0123456789abcdef0123456789abcdef01"),
    );
    list.add("linear key", Mixed, 40, concat!("401 for lin", "_api_{}"));
    list.add("figma token", Mixed, 40, concat!("403 for fi", "gd_{}"));
    let jwt = format!(
        "{}.eyJ{}.{}",
        list.maker.make(&Mixed, 20),
        list.maker.make(&Mixed, 40),
        list.maker.make(&Mixed, 43)
    );
    list.put("jwt", &jwt, concat!("token e", "yJ{} has expired"));
    let (first, second) = (list.maker.make(&Mixed, 64), list.maker.make(&Mixed, 64));
    let key = format!("{first}\n{second}");
    list.put(
        "pem private key",
        &key,
        concat!("-----BEGIN RSA PRIV", "ATE KEY-----\n{}\n-----END RSA PRIV", "ATE KEY-----"),
    );
    let key = format!("{}\n{}", list.maker.make(&Mixed, 70), list.maker.make(&Mixed, 70));
    list.put("openssh private key", &key, concat!("-----BEGIN OPENSSH PRIV", "ATE KEY-----\n{}"));
    list.add("age key", Upper, 58, concat!("AGE-SEC", "RET-KEY-1{}"));
    list.add("basic auth header", Mixed, 24, "> Authorization: Basic {}==");
    list.add("bearer token", Lower, 32, "curl -H 'Authorization: Bearer {}' https://api.test");
    list.add("bearer in prose", Mixed, 32, "sent Bearer {} and got 403");
    list.add("sentry dsn", Hex, 32, "using https://{}@o1.ingest.sentry.test/42");
    list.add("database url", Lower, 20, "connect postgres://app:{}@db.internal:5432/shop");
    list.add(
        "database url with odd characters",
        Lower,
        20,
        "connect mysql://app:a/b?{}@db.internal:3306/shop",
    );
    list.add("redis url", Lower, 20, "dial redis://:{}@cache:6379/0");
    list.add("go driver dsn", Lower, 20, "open app:{}@tcp(db:3306)/shop: refused");
    list.add("user of a url", Mixed, 24, "fetch https://{}@git.test/x.git");
    list.add("percent-encoded url", Lower, 20, "/login?next=https%3A%2F%2Fapp%3A{}%40h.test%2Fx");
    list.add("curl user", Lower, 20, "curl -s -u app:{} https://api.test");
}

/// What is known by the name it stands under.
fn names(list: &mut List) {
    use Of::{Hex, Lower, Mixed};
    list.add("aws secret key", Mixed, 40, "aws_secret_access_key = {}");
    list.add("lark app secret", Mixed, 32, r#"{"app_id": "cli_a1", "app_secret": "{}"}"#);
    list.add("lark encrypt key", Mixed, 32, "encrypt_key: {}");
    list.add("wecom corp secret", Mixed, 43, "corpsecret={}&corpid=ww1");
    list.add("datadog api key", Hex, 32, "DD_API_KEY={}");
    list.add("datadog key in prose", Hex, 32, "datadog key: {}");
    list.add("twilio auth token", Hex, 32, "TWILIO_AUTH_TOKEN={}");
    let key = list.uuid();
    list.put("heroku uuid key", &key, "HEROKU_KEY={}");
    list.add("cloudflare token", Mixed, 40, "CF_GLOBAL={}");
    list.add("pagerduty key", Hex, 32, "routing_key: {}");
    list.add("opsgenie key", Lower, 36, "Authorization: GenieKey {}");
    list.add("password in text", Lower, 16, "login with password={} failed");
    list.add("password with punctuation", Lower, 16, "PWD=a,b;{}");
    list.add("password after a colon", Lower, 16, "user: app, password: {}");
    list.add("password in quotes", Lower, 16, r#"password = "with \" and blank {}""#);
    list.add("password in json in text", Lower, 16, r#"body {"user":"a","password":"{}"} refused"#);
    list.add("password in escaped json", Lower, 16, r#"body {\"password\":\"q\\\"{}\"} refused"#);
    list.add("password in python", Lower, 16, "kwargs {'user': 'a', 'db_password': '{}'}");
    list.add("password in go", Lower, 16, "map[password:{} user:a]");
    list.add("password in a typed constant", Lower, 16, r#"const PASSWORD: &str = "{}";"#);
    list.add("password in a call", Mixed, 16, r#"config.setPassword("{}")"#);
    list.add("password in xml", Lower, 16, "<ns:Password>{}</ns:Password>");
    list.add("password in html", Lower, 16, "password=&quot;{}&quot;");
    list.add("password of an option", Lower, 16, "mysqldump --password {} shop");
    list.add("password in a query", Lower, 16, "GET /login?user=a&passwd={}&x=1");
    list.add("password in an encoded query", Lower, 16, "GET /login?next=%2Fx%3Fpassword%3D{}");
    list.add("password in encoded json", Lower, 16, "q=%7B%22password%22%3A%22{}%22%7D");
    list.add("password in a form", Mixed, 16, "grant_type=password&username=a&password={}&scope=x");
    list.add(
        "password of a connection string",
        Lower,
        16,
        "Server=db;User Id=a;Password={};Encrypt=yes",
    );
    list.add("password in jdbc", Lower, 16, "jdbc:mysql://db/shop?user=a&password={}");
    list.add("password in sql", Lower, 16, "ALTER USER app IDENTIFIED BY '{}'");
    list.add("password in chinese", Lower, 16, "数据库密码：{}，请检查");
    list.add("password in markdown", Lower, 16, "**Password:** {}");
    list.add("password in colours", Lower, 16, "\u{1b}[3mpassword\u{1b}[0m\u{1b}[2m=\u{1b}[0m{}");
    list.add("password of a named pair", Lower, 16, "- name: DB_PASSWORD\n  value: {}");
    list.add("secret in text", Mixed, 24, "client_secret={}");
    list.add("token in text", Mixed, 24, "token: {}");
    list.add("token split by nothing shown", Mixed, 24, "tok\u{200b}en: {}");
    list.add("api key header", Mixed, 24, "X-Api-Key: {}");
    list.add("cookie header", Mixed, 24, "Cookie: lang=en; sid={}");
    list.add("set-cookie header", Mixed, 24, "Set-Cookie: sid={}; Path=/");
    list.add("proxy authorization", Mixed, 24, "Proxy-Authorization: Digest {}");
    list.add("signed url", Hex, 64, "GET https://b.s3.test/x?X-Amz-Expires=60&X-Amz-Signature={}");
    list.add("azure sas", Mixed, 43, "GET https://x.blob.test/c?sv=2025&sig={}%3D");
    list.add("dsn of libpq", Lower, 16, "host=db user=app password='{}' dbname=shop");
    list.add("generic high entropy", Mixed, 40, "WEBHOOK_SIGN_KEY={}");
    list.add("generic high entropy after a colon", Mixed, 40, "service.auth: {}");
}
