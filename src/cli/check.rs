//! `thinkwire check-config`.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::{WRONG_USAGE, complain};
use crate::config::{Config, Overrides};
use crate::upstream::{Catalogue, PROTOCOLS};

pub(super) fn run(overrides: &Overrides) -> ExitCode {
    let config = match Config::load(overrides, PROTOCOLS) {
        Ok(config) => config,
        Err(errors) => return complain(WRONG_USAGE, &errors),
    };
    match Catalogue::new(&config) {
        Ok(catalogue) => {
            print!("{}", summary(&config, &catalogue));
            ExitCode::SUCCESS
        }
        Err(error) => complain(WRONG_USAGE, &error),
    }
}

/// What is on, for a person.
fn summary(config: &Config, catalogue: &Catalogue) -> String {
    let on: Vec<&str> =
        catalogue.providers().filter(|provider| provider.available()).map(|provider| provider.name()).collect();
    let mut text = String::from("OK\n");
    let mut line = |name: &str, value: &str| {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    line("environment", &config.environment);
    line("listen", &config.server.listen.to_string());
    line("store", &config.store.shown_url());
    line("default", &config.default.model);
    if let Err(fault) = catalogue.route(None) {
        line("", &format!("careful: {}", fault.message));
    }
    line("on", &on.join(", "));
    for provider in catalogue.providers().filter(|provider| !provider.available()) {
        line("off", &format!("{}: {}", provider.name(), provider.how_to_switch_on()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables;

    #[test]
    fn the_summary_says_what_is_on_and_how_to_switch_on_the_rest() {
        let variables: Variables = [
            ("GROQ_API_KEY", "gsk-secret-key"),
            ("DATABASE_URL", "sqlite://data/thinkwire.db?key=password"),
            ("THINKWIRE__DEFAULT__MODEL", "openai/gpt-5"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let config = Config::load_from(&Overrides::default(), &variables, PROTOCOLS).expect("loads");
        let text = summary(&config, &Catalogue::new(&config).expect("known protocols"));
        assert!(text.starts_with("OK\n"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("  on ") && line.contains("demo, groq, ")), "{text}");
        assert!(text.contains("openai: set the environment variable OPENAI_API_KEY"), "{text}");
        assert!(text.contains("careful: the provider openai has no key here"), "{text}");
        assert!(!text.contains("gsk-secret-key") && !text.contains("password"), "{text}");
    }
}
