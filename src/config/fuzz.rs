//! Entry points of fuzz targets: files of settings.

use std::path::Path;

use super::{
    keys::KEYS,
    settings::{self, Settings},
    tree,
};

/// Values lie within the file, a mistake is told by a place in it, and a setting that was changed has the value it was
/// changed to. The first line says which setting, and to what.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (change, text) = text.split_once('\n').unwrap_or(("", &text));
    // YAML has a third end of a line: '\r' alone.
    let lines = 1 + text.matches(['\n', '\r']).count();
    match tree::parse(text) {
        Ok(root) => {
            for (_, place, node) in root.leaves() {
                assert!(text.get(node.span.clone()).is_some(), "{:?} in {text:?}", node.span);
                assert!(place.line >= 1 && place.column >= 1 && place.line <= lines, "{place:?}");
            }
        }
        Err(wrong) => assert!(wrong.place.line >= 1 && wrong.place.column >= 1 && !wrong.reason.is_empty()),
    }
    for file in ["f.yaml", "f.json"] {
        let path = Path::new(file);
        if let Ok(settings) = Settings::read(path, text) {
            // Values that are fine one by one may not be so together.
            let _ = settings.config("/r");
        }
        let (name, value) = change.split_once(' ').unwrap_or((change, "1"));
        let Some(key) = KEYS.iter().find(|key| key.name == name) else { continue };
        if let Ok(edited) = settings::set(path, text, key, value) {
            settings::set(path, &edited, key, value).expect("what was changed can be changed again");
        }
    }
}
