//! Frames of the Model Context Protocol: as clients and servers send them, and as they must not.

use crate::Corpus;

const FRAMES: &[(&str, &str)] = &[
    (
        "call",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":[1.5,-2,true,null],"b":"h\u00e9\ud83d\ude00"},"_meta":{"progressToken":"t"}}}"#,
    ),
    (
        "result",
        r#"{"jsonrpc":"2.0","id":"a","result":{"content":[]}}"#,
    ),
    (
        "error",
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#,
    ),
    (
        "notification",
        r#"{ "jsonrpc" : "2.0", "method" : "notifications/progress" }"#,
    ),
    (
        "extension",
        r#"{"jsonrpc":"2.0","id":0,"method":"ping","x-y":{"z":[]}}"#,
    ),
    (
        "escaped",
        r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"ping"}"#,
    ),
    (
        "twice",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":{"b":1,"\u0062":2}}}"#,
    ),
    (
        "case",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"x"}"#,
    ),
    ("batch", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#),
    (
        "number",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"n":1e400}}"#,
    ),
    (
        "surrogate",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"n":"\ud800"}}"#,
    ),
    ("id", r#"{"jsonrpc":"2.0","id":-0,"method":"ping"}"#),
];

const PARAMS: &[(&str, &str)] = &[
    ("plain", r#"{"name":"echo","arguments":{"a":1}}"#),
    ("escaped", r#"{"n\u0061me":"echo","":{}}"#),
    ("list", r#"["name"]"#),
    ("twice", r#"{"a":1,"a":1}"#),
];

pub(crate) fn write(corpus: &Corpus) {
    for (name, text) in FRAMES {
        corpus.put("mcp_frame", name, text);
    }
    for (name, text) in PARAMS {
        corpus.put("mcp_members", name, text);
    }
}
