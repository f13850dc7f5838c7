//! Commands as they have to be typed on this host.

use std::path::Path;

use crate::config::DEFAULT_FILE;

pub struct Commands {
    /// The config file to edit.
    config: String,
    /// ` -c FILE`, or nothing.
    option: String,
}

impl Commands {
    /// `config_file`: of `--config`.
    pub fn new(config_file: Option<&Path>) -> Self {
        match config_file {
            None => Self {
                config: DEFAULT_FILE.to_owned(),
                option: String::new(),
            },
            Some(file) => Self {
                config: file.display().to_string(),
                option: format!(" -c {}", file.display()),
            },
        }
    }

    /// Opens the config in an editor, where `what` is to be written, and puts it in force.
    pub fn edit_and_reload(&self, what: &str) -> String {
        let reload = self.cerco("reload");
        format!("sensible-editor {} && {reload}    # {what}", self.config)
    }

    /// The same for what a running daemon cannot change.
    pub fn edit_and_restart(&self, what: &str) -> String {
        let config = &self.config;
        format!("sensible-editor {config} && systemctl restart cerco    # {what}")
    }

    /// Makes a config to start from, and opens it in an editor.
    pub fn make_config(&self) -> String {
        let config = &self.config;
        format!("cerco check --example > {config} && sensible-editor {config}")
    }

    /// `cerco ARGUMENTS` for the same config.
    pub fn cerco(&self, arguments: &str) -> String {
        format!("cerco {arguments}{}", self.option)
    }

    /// What mends a check that only root can do.
    pub fn as_root(&self) -> String {
        format!("sudo {}", self.cerco("doctor"))
    }

    /// Puts a changed config in force, if it has no faults.
    pub fn check_and_reload(&self) -> String {
        format!("{} && {}", self.cerco("check"), self.cerco("reload"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_about_the_config_that_was_named() {
        let usual = Commands::new(None);
        assert_eq!(
            usual.edit_and_reload("mode = \"observe\""),
            "sensible-editor /etc/cerco/cerco.toml && cerco reload    # mode = \"observe\""
        );
        assert_eq!(usual.check_and_reload(), "cerco check && cerco reload");
        assert_eq!(
            usual.make_config(),
            "cerco check --example > /etc/cerco/cerco.toml && sensible-editor /etc/cerco/cerco.toml"
        );
        assert_eq!(usual.as_root(), "sudo cerco doctor");
        let own = Commands::new(Some(Path::new("/srv/a.toml")));
        assert_eq!(
            own.edit_and_restart("x"),
            "sensible-editor /srv/a.toml && systemctl restart cerco    # x"
        );
        assert_eq!(
            own.edit_and_reload("x"),
            "sensible-editor /srv/a.toml && cerco reload -c /srv/a.toml    # x"
        );
        assert_eq!(own.cerco("enforce"), "cerco enforce -c /srv/a.toml");
    }
}
