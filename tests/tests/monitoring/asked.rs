//! What rules and dashboard ask for, and what the alerts advise.

use serde_json::Value;
use std::collections::BTreeSet;

/// The selectors of cerco's own metrics in an expression, as `cerco_mode{mode="observe"}`.
pub fn selectors(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let word = &rest[start..];
        let end = word.find(|c| !is_name(c)).unwrap_or(word.len());
        let mut selector = word[..end].to_owned();
        rest = &word[end..];
        if !selector.starts_with("cerco_") && !selector.starts_with("process_") {
            continue;
        }
        if rest.starts_with('{') {
            let end = rest.find('}').expect("a bracket that ends") + 1;
            selector.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        found.insert(selector);
    }
    found
}

/// Every `expr`, and every query of a variable, as `label_values(SELECTOR, LABEL)`.
pub fn dashboard_expressions(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field.as_str()) {
                    ("expr", Some(expression)) => {
                        found.insert(expression.to_owned());
                    }
                    ("definition", Some(query)) => found.extend(selectors(query)),
                    _ => dashboard_expressions(field, found),
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| dashboard_expressions(item, found)),
        _ => {}
    }
}

/// The verbs of the commands in backticks: `geo diff` of "`cerco geo diff` shows it".
pub fn cerco_commands(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|it| it.strip_prefix("cerco "))
        .map(|command| {
            let words: Vec<&str> = command
                .split_whitespace()
                .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
                .collect();
            words.join(" ")
        })
        .collect()
}

#[test]
fn selectors_are_found_in_expressions() {
    let found = selectors(
        "sum by (job) (rate(cerco_packets_total{verdict=~\"a|b\", job=\"cerco_x\"}[5m])) > \
         process_open_fds - instance:cerco_y:rate5m",
    );
    let expected = [
        "cerco_packets_total{verdict=~\"a|b\", job=\"cerco_x\"}",
        "process_open_fds",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[test]
fn commands_are_found_in_advice() {
    let found = cerco_commands(
        "`cerco geo diff` or `cerco enforce\n --confirm 2m`, in `cerco` and `cerco explain IP`",
    );
    assert_eq!(
        found,
        ["enforce", "explain", "geo diff"].map(str::to_owned).into()
    );
}
