//! A manager made step by step.

use super::{ArrayType, LayerWorkspaceMgr, Role};
use crate::config::WorkspaceConfiguration;

/// Collects where arrays of each type shall live. Of two calls about the same type the last one counts,
/// and so it does of two about the default.
#[derive(Clone, Debug, Default)]
pub struct LayerWorkspaceMgrBuilder {
    roles: [Option<Role>; ArrayType::ALL.len()],
    default: Role,
}

impl LayerWorkspaceMgrBuilder {
    /// Arrays of the types that are not named are plain.
    #[must_use]
    pub fn default_no_workspace(self) -> Self {
        Self { default: Role::out(), ..self }
    }

    /// Arrays of this type are plain.
    #[must_use]
    pub fn no_workspace_for(mut self, t: ArrayType) -> Self {
        self.roles[t as usize] = Some(Role::out());
        self
    }

    /// Arrays of the types that are not named live in this workspace.
    #[must_use]
    pub fn default_workspace(self, name: &str, configuration: WorkspaceConfiguration) -> Self {
        Self { default: Role::named(name, configuration), ..self }
    }

    /// Arrays of this type live in this workspace.
    #[must_use]
    pub fn with(mut self, t: ArrayType, name: &str, configuration: WorkspaceConfiguration) -> Self {
        self.roles[t as usize] = Some(Role::named(name, configuration));
        self
    }

    /// The manager. What is built later does not change it; without a default, types that are not
    /// named are unconfigured.
    pub fn build(&self) -> LayerWorkspaceMgr {
        let role = |role: &Option<Role>| role.as_ref().unwrap_or(&self.default).clone();
        LayerWorkspaceMgr { roles: self.roles.each_ref().map(role), ..LayerWorkspaceMgr::default() }
    }
}
