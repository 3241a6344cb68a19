//! The module that a node was written in, as exporters tell it.

use crate::onnx::MODULE_KEY;
use crate::onnx::proto::NodeProto;

/// The module path (`layer4.2.conv1`), where the exporter tells.
pub(super) fn path(node: &NodeProto) -> Option<String> {
    let told = node.metadata_props.iter().find(|e| e.key == MODULE_KEY);
    let path = match told {
        Some(scopes) => of_scopes(&scopes.value),
        None => of_name(&node.name),
    };
    path.filter(|path| !path.is_empty())
}

/// Gives a node of a function's body the module of the call, unless it has its own.
pub(super) fn inherit(node: &mut NodeProto, call: &NodeProto) {
    if node.metadata_props.iter().all(|e| e.key != MODULE_KEY) {
        node.metadata_props.extend(call.metadata_props.iter().find(|e| e.key == MODULE_KEY).cloned());
    }
}

/// The older exporter names nodes `/layer4/layer4.2/conv1/Conv`.
pub(in crate::onnx) fn of_name(name: &str) -> Option<String> {
    let (scopes, _op) = name.strip_prefix('/')?.rsplit_once('/')?;
    let mut path: Vec<&str> = Vec::new();
    for part in scopes.split('/') {
        let continues = |of: &str| part.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'));
        if continues(&path.join(".")) {
            path.clear();
        } else if path.last().is_some_and(|last| continues(last)) {
            path.pop();
        }
        path.push(part);
    }
    Some(path.join("."))
}

/// The newer exporter keeps a Python list: `['', 'layer4', 'layer4.2', 'layer4.2.conv1', 'conv2d_52']`.
fn of_scopes(list: &str) -> Option<String> {
    let mut scopes = strings(list)?;
    scopes.pop()?;
    scopes.pop()
}

/// The items of a list of strings as Python prints it.
fn strings(list: &str) -> Option<Vec<String>> {
    let mut rest = list.trim().strip_prefix('[')?.strip_suffix(']')?.chars().peekable();
    let mut items = Vec::new();
    loop {
        while rest.next_if(|c| matches!(c, ' ' | ',')).is_some() {}
        let Some(quote) = rest.next() else { return Some(items) };
        if !matches!(quote, '\'' | '"') {
            return None;
        }
        let mut item = String::new();
        loop {
            match rest.next()? {
                '\\' => item.push(rest.next()?),
                c if c == quote => break,
                c => item.push(c),
            }
        }
        items.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::{of_name, of_scopes};

    #[test]
    fn names_of_the_older_exporter() {
        let cases = [
            ("/layer4/layer4.2/conv1/Conv", Some("layer4.2.conv1")),
            ("/features/features.1/conv/conv.0/conv.0.0/Conv", Some("features.1.conv.0.0")),
            ("/relu/Relu", Some("relu")),
            ("/Flatten", None),
            ("Conv_0", None),
            ("/a/ab/Relu", Some("a.ab")),
        ];
        for (name, path) in cases {
            assert_eq!(of_name(name).as_deref(), path, "{name}");
        }
    }

    #[test]
    fn scopes_of_the_newer_exporter() {
        let cases = [
            ("['', 'layer4', 'layer4.2', 'layer4.2.conv1', 'conv2d_52']", Some("layer4.2.conv1")),
            ("['', 'relu']", Some("")),
            (r#"["it's", 'a\'b', 'x']"#, Some("a'b")),
            ("['x']", None),
            ("[1]", None),
            ("nonsense", None),
        ];
        for (list, path) in cases {
            assert_eq!(of_scopes(list).as_deref(), path, "{list}");
        }
    }
}
