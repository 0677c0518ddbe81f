//! The text files of the repository, without what git ignores.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file.
pub(crate) struct File {
    /// Relative to the root, with `/` between the parts.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// What is looked at; anything else is taken for data.
const EXTENSIONS: [&str; 10] = [
    "rs", "toml", "md", "sh", "py", "js", "json", "yml", "yaml", "txt",
];
/// Directories that are nobody's source, wherever they are.
const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "__pycache__", ".venv"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("this package is a directory of the workspace")
        .to_path_buf()
}

/// Every text file below the root, by path.
pub(crate) fn read() -> Vec<File> {
    let root = root();
    let ignored: Vec<String> = fs::read_to_string(root.join(".gitignore"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().strip_prefix('/').map(str::to_owned))
        .collect();
    let mut files = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).expect("directories of the repository are readable");
        for entry in entries {
            let path = entry.expect("entries are readable").path();
            let relative = relative(&root, &path);
            let name = relative.rsplit('/').next().unwrap_or_default();
            if SKIPPED.contains(&name) || ignored.contains(&relative) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                // The mark of a cargo target directory, whatever its name.
                if !path.join("CACHEDIR.TAG").exists() {
                    open.push(path);
                }
            } else if is_text(&path) {
                // Not UTF-8 means data, whatever its name.
                if let Ok(text) = fs::read_to_string(&path) {
                    let path = relative;
                    files.push(File { path, text });
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// By extension; scripts such as `.ci/run` have none.
fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
        || extension.is_none() && path.iter().any(|part| part == ".ci")
}

fn relative(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).expect("found below the root");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
