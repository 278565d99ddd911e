use std::collections::BTreeSet;
use std::io::Write;

use secrecy::ExposeSecret;

use super::*;

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_with(&Overrides::default(), variables)
}

fn load_with(overrides: &Overrides, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load_from(overrides, &variables, crate::upstream::PROTOCOLS)
}

fn mistakes(variables: &[(&str, &str)]) -> Vec<Mistake> {
    load(variables).map(|_| Vec::new()).unwrap_or_else(|errors| errors.mistakes)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// Loads with `text` as the extra file.
fn load_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let file = file(text);
    load_with(&Overrides { config: Some(file.path().to_owned()), ..Overrides::default() }, variables)
}

#[test]
fn the_documented_defaults_hold() {
    let config = load(&[("THINKWIRE_ENV", "test")]).expect("the built-in files are right");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.base_path, "");
    assert_eq!(config.server.shutdown_grace_ms, 10_000);
    assert_eq!(config.store.url, "sqlite://data/thinkwire.db");
    assert_eq!(config.store.max_unstored_bytes, 268_435_456);
    assert_eq!((config.store.tick_ms, config.store.max_tick_ms, config.store.max_end_wait_ms), (200, 500, 2000));
    assert_eq!(config.default.model, "demo/thinker");
    assert_eq!(config.limits.max_concurrent_generations, 10_000);
    assert_eq!(config.limits.max_body_bytes, 4_194_304);
    assert_eq!(config.limits.max_line_bytes, 8_388_608);
    assert_eq!(config.limits.max_generations_per_conversation, 16);
    assert_eq!(config.limits.max_body_bytes_in_flight, 268_435_456);
    assert_eq!((config.limits.max_readers, config.limits.max_readers_per_conversation), (50_000, 1000));
    assert_eq!(config.stream.heartbeat_ms, 15_000);
    assert_eq!(config.stream.on_disconnect, OnDisconnect::Continue);
    assert_eq!(config.stream.head_wait_ms, 1000);
    assert_eq!(config.log.format, LogFormat::Text);
    assert!(config.providers["demo"].on() && config.providers["ollama"].on() && !config.providers["openai"].on());
}

#[test]
fn every_environment_loads() {
    assert_eq!(load(&[]).expect("development").environment, "development");
    let production = load(&[("THINKWIRE_ENV", "production")]).expect("production");
    assert_eq!(production.log.format, LogFormat::Json);
    let overrides = Overrides { env: Some("test".to_owned()), ..Overrides::default() };
    assert_eq!(load_with(&overrides, &[("THINKWIRE_ENV", "production")]).expect("test").environment, "test");
}

#[test]
fn each_layer_beats_the_ones_below() {
    let text = "[store]\nurl = \"sqlite://file.db\"\n[log]\nlevel = \"warn\"";
    let url = |overrides: &Overrides, variables: &[(&str, &str)]| {
        load_with(overrides, variables).expect("loads").store.url.trim_start_matches("sqlite://").to_owned()
    };
    let file = file(text);
    let path = file.path().display().to_string();
    let nothing = Overrides::default();
    assert_eq!(url(&nothing, &[]), "data/thinkwire.db");
    assert_eq!(url(&nothing, &[("THINKWIRE_CONFIG", &path)]), "file.db");
    let plain = [("THINKWIRE_CONFIG", path.as_str()), ("DATABASE_URL", "sqlite://plain.db")];
    assert_eq!(url(&nothing, &plain), "plain.db");
    let named = [plain[0], plain[1], ("THINKWIRE__STORE__URL", "sqlite://named.db")];
    assert_eq!(url(&nothing, &named), "named.db");
    let flags = Overrides { store_url: Some("sqlite://flag.db".to_owned()), ..Overrides::default() };
    assert_eq!(url(&flags, &named), "flag.db");
    // The extra file beats the environment's own file.
    assert_eq!(load_file(text, &[]).expect("loads").log.level, "warn");
}

#[test]
fn port_changes_only_the_port() {
    assert_eq!(load(&[("PORT", "9000")]).expect("loads").server.listen.to_string(), "127.0.0.1:9000");
    let config = load_file("[server]\nlisten = \"[::]:80\"", &[("PORT", "9000")]).expect("loads");
    assert_eq!(config.server.listen.to_string(), "[::]:9000");
    let both = [("PORT", "9000"), ("THINKWIRE__SERVER__LISTEN", "127.0.0.1:7000")];
    assert_eq!(load(&both).expect("loads").server.listen.port(), 7000);
    // Compose files pass empty variables on.
    assert_eq!(load(&[("PORT", ""), ("DATABASE_URL", "")]).expect("loads").server.listen.port(), 8080);
    let found = mistakes(&[("PORT", "http")]);
    assert_eq!((found[0].key.as_str(), found[0].source.as_str()), ("server.listen", "PORT"));
}

#[test]
fn all_mistakes_are_reported_at_once_with_key_and_source() {
    let text = "[server]\nlisten = 8080\nbase_pth = \"/x\"\n[strem]\na = 1\n[log]\nlevel = 3\n[store]\ntick_ms = 0\n";
    let file = file(text);
    let name = file.path().display().to_string();
    let found = mistakes(&[
        ("THINKWIRE_CONFIG", &name),
        ("THINKWIRE__STREAM__HEARTBEAT_MS", "soon"),
        ("THINKWIRE__STORE__POOL_SIZE", "-1"),
        ("DATABASE_URL", "mysql://user:hunter2@host/db"),
        ("THINKWIRE__DEFAULT__MODEL", "opnai/gpt-5"),
        ("THINKWIRE_ENV", "staging"),
    ]);
    let pairs: BTreeSet<(&str, &str)> = found.iter().map(|found| (found.key.as_str(), found.source.as_str())).collect();
    let name = name.as_str();
    let expected = BTreeSet::from([
        ("THINKWIRE_ENV", "THINKWIRE_ENV"),
        ("server.listen", name),
        ("server.base_pth", name),
        ("strem", name),
        ("log.level", name),
        ("store.tick_ms", name),
        ("stream.heartbeat_ms", "THINKWIRE__STREAM__HEARTBEAT_MS"),
        ("store.pool_size", "THINKWIRE__STORE__POOL_SIZE"),
        ("store.url", "DATABASE_URL"),
        ("default.model", "THINKWIRE__DEFAULT__MODEL"),
    ]);
    assert_eq!(pairs, expected);
    let text = ConfigErrors { mistakes: found }.to_string();
    assert!(text.contains("10 mistakes"), "{text}");
    assert!(text.contains("did you mean server.base_path?"), "{text}");
    assert!(text.contains("did you mean stream?"), "{text}");
    assert!(text.contains("did you mean \"openai\"?"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn unknown_variables_and_sections_are_mistakes() {
    assert_eq!(mistakes(&[("THINKWIRE____X", "x")])[0].key, "");
    assert_eq!(mistakes(&[("THINKWIRE__SERVER", "x")])[0].key, "server");
    assert_eq!(mistakes(&[("THINKWIRE__MODELS__0__PATTERN", "x")])[0].key, "models");
    let found = mistakes(&[("THINKWIRE__SERVER__LISTN", "x")]);
    assert_eq!(found[0].key, "server.listn");
    assert!(found[0].message.contains("did you mean server.listen?"), "{found:?}");
}

#[test]
fn broken_files_are_named_without_their_content() {
    let errors = load_file("[server\nsecret = \"hunter2\"", &[]).expect_err("not TOML");
    let text = errors.to_string();
    assert!(text.contains("not valid TOML") && text.contains("line 1"), "{text}");
    let errors = load_file("[server]\nsecret = \"hunter2", &[]).expect_err("not TOML");
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    let overrides = Overrides { config: Some("/nonexistent/thinkwire.toml".into()), ..Overrides::default() };
    let errors = load_with(&overrides, &[]).expect_err("no such file");
    assert_eq!(errors.mistakes.len(), 1);
    assert_eq!(errors.mistakes[0].source, "--config");
    assert!(errors.mistakes[0].message.contains("/nonexistent/thinkwire.toml"), "{errors}");
}

#[test]
fn keys_come_from_variables_and_files_and_are_never_shown() {
    let config = load(&[("OPENAI_API_KEY", " sk-variable\n"), ("GROQ_API_KEY", "")]).expect("loads");
    let openai = &config.providers["openai"];
    assert!(openai.on());
    assert_eq!(openai.api_key.as_ref().map(ExposeSecret::expose_secret), Some("sk-variable"));
    assert!(!config.providers["groq"].on());
    assert!(!format!("{config:?}").contains("sk-variable"));

    let key = file("sk-file\n");
    let path = key.path().display().to_string();
    let variables = [("THINKWIRE__PROVIDERS__OPENAI__API_KEY_FILE", path.as_str()), ("OPENAI_API_KEY", "sk-variable")];
    let config = load(&variables).expect("loads");
    assert_eq!(config.providers["openai"].api_key.as_ref().map(ExposeSecret::expose_secret), Some("sk-file"));

    let found = mistakes(&[("THINKWIRE__PROVIDERS__OPENAI__API_KEY_FILE", "/nonexistent/key")]);
    assert_eq!(found[0].key, "providers.openai.api_key_file");
    let found = mistakes(&[("OPENAI_API_KEY", "sk-two\nlines")]);
    assert_eq!(
        (found[0].key.as_str(), found[0].source.as_str()),
        ("providers.openai.api_key_env", "the variable OPENAI_API_KEY")
    );
    assert!(!format!("{found:?}").contains("sk-two"));
}

#[test]
fn any_server_can_be_added_by_name_and_url() {
    let config = load(&[("THINKWIRE__PROVIDERS__MYBOX__BASE_URL", "http://10.0.0.5:8000/v1/")]).expect("loads");
    let mybox = &config.providers["mybox"];
    assert_eq!(mybox.base_url, "http://10.0.0.5:8000/v1");
    assert_eq!(mybox.protocol, "openai_chat");
    assert!(mybox.on());

    let text = "[providers.my-box]\nbase_url = \"http://a/v1\"\nheaders = { \"X-Secret\" = \"hunter2\" }\n";
    let config = load_file(text, &[("THINKWIRE__PROVIDERS__MY_BOX__MODELS", "a, b")]).expect("loads");
    assert_eq!(config.providers["my-box"].models, ["a", "b"]);
    assert_eq!(config.providers["my-box"].headers["X-Secret"].expose_secret(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));

    for url in ["ftp://a", "localhost", "http://user:pw@a/v1", "http://a/v1?key=1"] {
        let found = mistakes(&[("THINKWIRE__PROVIDERS__MYBOX__BASE_URL", url)]);
        assert_eq!(found.len(), 1, "{url}");
        assert_eq!(found[0].key, "providers.mybox.base_url");
    }
    let found = mistakes(&[("THINKWIRE__PROVIDERS__OLLAMA__BASE_URL", "http://box:11434/v1/")]);
    assert_eq!((found.len(), found[0].key.as_str()), (1, "providers.ollama.base_url"));
    assert!(found[0].message.contains("leave /v1 away"), "{found:?}");
    assert_eq!(mistakes(&[("THINKWIRE__PROVIDERS__MYBOX__MODELS", "a")])[0].key, "providers.mybox.base_url");
    let errors =
        load_file("[providers.x]\nbase_url = \"http://a\"\nheaders = { \"a b\" = \"c\" }", &[]).expect_err("bad");
    assert_eq!(errors.mistakes[0].key, "providers.x.headers.a b");
}

#[test]
fn rows_about_models_are_put_before_the_catalogue() {
    let config = load_file("[[models]]\npattern = \"gpt-5*\"\nreasoning = false\n", &[]).expect("loads");
    let about = |model: &str| config.models.iter().find(|row| row.matches(model)).cloned().expect("a row");
    assert_eq!(about("gpt-5-mini").reasoning, Some(false));
    assert_eq!(about("o3").leave_out, ["temperature", "top_p", "stop"]);
    assert_eq!(about("deepseek-ai/DeepSeek-R1").reasoning, Some(true));
    assert_eq!(about("qwen/qwen3-32b").reasoning, Some(true));
    assert!(!config.models.iter().any(|row| row.matches("mixtral-8x7b")));
}

#[test]
fn rows_say_where_reasoning_stands() {
    let file =
        "[[models]]\npattern = \"a\"\ninline = \"kimi\"\ninline_open = \"missing\"\n[[models]]\npattern = \"b\"\n";
    let rows = load_file(file, &[]).expect("loads").models;
    assert_eq!((rows[0].inline, rows[0].inline_open_missing), (Some("kimi"), true));
    assert_eq!((rows[1].inline, rows[1].inline_open_missing), (None, false));
    for (key, wrong) in [("inline", "kimmi"), ("inline", ""), ("inline_open", "maybe")] {
        let file = format!("[[models]]\npattern = \"a\"\n{key} = \"{wrong}\"\n");
        let errors = load_file(&file, &[]).expect_err("not known");
        assert_eq!(errors.mistakes[0].key, format!("models.{key}"));
    }
}

#[test]
fn the_instruction_to_think_must_ask_for_the_tags() {
    let config = load_file("", &[]).expect("loads");
    assert!(config.reasoning.emulate && config.reasoning.instruction.contains("</answer>"));
    let found = mistakes(&[("THINKWIRE__REASONING__INSTRUCTION", "Think between <thinking> tags.")]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "reasoning.instruction");
}

#[test]
fn patterns_match_whole_names() {
    let row = |pattern: &str| ModelRow { pattern: pattern.to_owned(), ..ModelRow::default() };
    for (pattern, name, matches) in [
        ("o1", "o1", true),
        ("o1", "o1-mini", false),
        ("o1*", "o1-mini", true),
        ("*r1*", "deepseek-R1-distill", true),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "aXbYbZ", false),
        ("*", "", true),
        ("", "x", false),
        ("o3*", "openai/o3-mini", true),
        ("o3*", "foo3", false),
    ] {
        assert_eq!(row(pattern).matches(name), matches, "{pattern} {name}");
    }
    for (pattern, provider, name, matches) in [
        ("VLLM/*r1*", "vllm", "deepseek-ai/DeepSeek-R1", true),
        ("vllm/*r1*", "together", "deepseek-ai/DeepSeek-R1", false),
        ("*r1*", "together", "deepseek-ai/DeepSeek-R1", true),
        ("o1", "o1", "x", false),
    ] {
        assert_eq!(row(pattern).matches_at(provider, name), matches, "{pattern} {provider} {name}");
    }
}

#[test]
fn on_disconnect_takes_three_forms() {
    let of = |text: &str| load_file(&format!("[stream]\non_disconnect = {text}"), &[]).map(|c| c.stream.on_disconnect);
    assert_eq!(of("\"cancel\""), Ok(OnDisconnect::Cancel));
    assert_eq!(of("{ grace_ms = 500 }"), Ok(OnDisconnect::Grace { grace_ms: 500 }));
    assert_eq!(of("{ graceMs = 500 }"), Ok(OnDisconnect::Grace { grace_ms: 500 }));
    assert!(of("{ grace = 500 }").is_err() && of("\"maybe\"").is_err() && of("5").is_err());
    let config = load(&[("THINKWIRE__STREAM__ON_DISCONNECT__GRACE_MS", "700")]).expect("loads");
    assert_eq!(config.stream.on_disconnect, OnDisconnect::Grace { grace_ms: 700 });
}

#[test]
fn networks_hold_their_addresses() {
    let config = load(&[("THINKWIRE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1, 0.0.0.0/0")]).expect("loads");
    let [ten, six, all] = config.server.trusted_proxies.as_slice() else { panic!("three ranges") };
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert!(ten.contains(ip("10.200.3.4")) && ten.contains(ip("::ffff:10.1.1.1")) && !ten.contains(ip("11.0.0.1")));
    assert!(six.contains(ip("::1")) && !six.contains(ip("::2")) && !six.contains(ip("127.0.0.1")));
    assert!(all.contains(ip("8.8.8.8")));
    assert_eq!(mistakes(&[("THINKWIRE__SERVER__TRUSTED_PROXIES", "10.0.0.0/33")])[0].key, "server.trusted_proxies");
}

#[test]
fn the_longest_wait_before_a_retry_is_not_shorter_than_the_first() {
    let config = load(&[("THINKWIRE__RETRY__ATTEMPTS", "1")]).expect("loads");
    assert_eq!((config.retry.attempts, config.retry.base_ms, config.retry.max_ms), (1, 250, 8_000));
    assert_eq!(mistakes(&[("THINKWIRE__RETRY__MAX_MS", "100")])[0].key, "retry.max_ms");
    assert_eq!(mistakes(&[("THINKWIRE__RETRY__ATTEMPTS", "0")])[0].key, "retry.attempts");
}

#[test]
fn aliases_lead_to_known_providers() {
    let config =
        load(&[("THINKWIRE__ALIASES__DEEP", "openai/o3"), ("THINKWIRE__DEFAULT__MODEL", "deep")]).expect("loads");
    assert_eq!(config.aliases["deep"], ["openai/o3"]);
    let config = load(&[("THINKWIRE__ALIASES__DEEP", "openai/o3, deepseek/deepseek-chat")]).expect("loads");
    assert_eq!(config.aliases["deep"], ["openai/o3", "deepseek/deepseek-chat"]);
    let wrong = mistakes(&[("THINKWIRE__ALIASES__DEEP", "openai/o3,nowhere/o3")]);
    assert!(wrong.len() == 1 && wrong[0].message.contains("\"nowhere\""), "{wrong:?}");
    assert_eq!(mistakes(&[("THINKWIRE__ALIASES__DEEP", " , ")])[0].key, "aliases.deep");
    assert_eq!(mistakes(&[("THINKWIRE__ALIASES__DEEP", "nowhere/o3")])[0].key, "aliases.deep");
    assert_eq!(mistakes(&[("THINKWIRE__ALIASES__DEEP", "o3")])[0].key, "aliases.deep");
}

#[test]
fn a_protocol_that_is_not_spoken_is_a_mistake_among_others() {
    let found = mistakes(&[
        ("THINKWIRE__PROVIDERS__A__PROTOCOL", "telepathy"),
        ("THINKWIRE__PROVIDERS__A__BASE_URL", "http://a"),
        ("THINKWIRE__PROVIDERS__B__BASE_URL", "not a URL"),
    ]);
    let keys: Vec<&str> = found.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(keys, ["providers.a.protocol", "providers.b.base_url"]);
    assert!(found[0].message.ends_with(&crate::upstream::PROTOCOLS.join(", ")), "{}", found[0]);
}

#[test]
fn a_database_url_is_shown_without_its_password() {
    let mut config = load(&[]).expect("loads");
    config.store.url = "postgres://me:p@ss@db:5432/thinkwire?sslkey=x".to_owned();
    assert_eq!(config.store.shown_url(), "postgres://db:5432/thinkwire");
    assert!(!format!("{config:?}").contains("p@ss"));
}

#[test]
fn a_database_that_is_not_known_is_a_mistake_that_keeps_its_password() {
    let found = mistakes(&[("DATABASE_URL", "mysql://me:p@ss@db:3306/thinkwire")]);
    assert_eq!(found.iter().map(|mistake| mistake.key.as_str()).collect::<Vec<_>>(), ["store.url"]);
    assert!(found[0].message.contains("sqlite://PATH") && !found[0].to_string().contains("p@ss"), "{}", found[0]);
}

#[test]
fn agents_have_models_that_lead_somewhere() {
    let config = load(&[]).expect("loads");
    let researcher = &config.agents["researcher"];
    assert_eq!(researcher.model, None);
    assert!(researcher.system.as_deref().is_some_and(|text| text.starts_with("You are a careful researcher.")));
    assert_eq!((config.stream.progress_join_chars, config.stream.progress_join_ms), (50, 100));
    let text = "[aliases]\ndeep = \"openai/o3\"\n[agents.a]\nmodel = \"deep\"\n[agents.b]\nmodel = \"demo/thinker\"\n";
    let config = load_file(text, &[]).expect("loads");
    assert_eq!(config.agents["a"], AgentConfig { model: Some("deep".to_owned()), system: None });
    let text =
        "[agents.a]\nmodel = \"nowhere/x\"\n[agents.b]\nmodell = \"demo/thinker\"\n[stream]\nprogress_join_chars = 0\n";
    let found = load_file(text, &[]).expect_err("wrong").mistakes;
    let keys: Vec<&str> = found.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(keys, ["agents.a.model", "agents.b.modell", "stream.progress_join_chars"]);
}
