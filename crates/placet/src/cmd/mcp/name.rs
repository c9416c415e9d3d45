//! What a server is called where nobody says it: after its command, never after what it says of itself.

/// Programs that start the one that is meant.
const RUNNERS: [&str; 12] = [
    "bun", "bunx", "deno", "env", "node", "npx", "pipx", "pnpm", "python", "python3", "uv", "uvx",
];
/// Words between such a program and the one that is meant.
const WORDS: [&str; 5] = ["dlx", "exec", "run", "tool", "x"];

/// The name of the server that a command starts.
pub(super) fn of_command(argv: &[String]) -> String {
    let mut rest = argv.iter().map(String::as_str);
    let first = last_part(rest.next().unwrap_or_default());
    let meant = if RUNNERS.contains(&first) {
        rest.find(|word| !word.starts_with('-') && !WORDS.contains(word) && !word.contains('='))
            .map_or(first, last_part)
    } else {
        first
    };
    clean(meant)
}

/// The last part of a path or a package, without its version and its ending.
fn last_part(word: &str) -> &str {
    let part = word.rsplit('/').next().unwrap_or(word);
    let part = part.split('@').next().unwrap_or(part);
    [".js", ".mjs", ".cjs", ".py", ".ts"]
        .iter()
        .find_map(|ending| part.strip_suffix(ending))
        .unwrap_or(part)
}

/// A name with nothing in it that could be taken for something else.
pub(super) fn clean(name: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = name
        .chars()
        .map(|c| if kept(c) { c } else { '-' })
        .take(64)
        .collect();
    if name.is_empty() {
        "server".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_after_what_is_meant() {
        for (line, name) in [
            (
                "npx -y @modelcontextprotocol/server-filesystem /data",
                "server-filesystem",
            ),
            ("npx @scope/tool@1.2.3", "tool"),
            ("uvx mcp-server-git --repository .", "mcp-server-git"),
            ("uv run server.py", "server"),
            ("node /srv/mcp/index.js", "index"),
            ("python3 -u weather.py", "weather"),
            ("/usr/local/bin/github-mcp stdio", "github-mcp"),
            ("node", "node"),
            ("./a b", "a"),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(of_command(&argv), name, "{line}");
        }
        assert_eq!(clean("../x y"), "..-x-y");
        assert_eq!(clean(""), "server");
    }
}
