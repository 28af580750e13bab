//! Contexts as a list.

use super::{Page, Registry, require_writable};
use crate::error::{Error, Result};
use crate::live::Scope;
use crate::names::{Context, Subject};
use crate::store::Change;

impl Registry {
    /// The default context, and every other one that something was registered in.
    pub async fn contexts(&self, prefix: &str, page: Page) -> Result<Vec<String>> {
        self.live().fresh().await?;
        let others = self.live().contexts().into_iter().filter(|context| !context.is_default());
        let others = others.filter(|context| self.live().read(context, |state| state.is_listed()));
        let all = std::iter::once(Context::default_context()).chain(others);
        let named = all.map(|context| context.to_string()).filter(|name| name.starts_with(prefix));
        Ok(named.skip(page.offset).take(page.limit).collect())
    }

    /// Takes an empty context from the list. One that is not in it stays as it is.
    pub async fn delete_context(&self, context: &Context) -> Result<()> {
        self.live().confirm().await?;
        if self.live().read(context, |state| state.is_empty() && !state.is_listed()) {
            return Ok(());
        }
        let name = context.clone();
        self.live()
            .write(context, Scope::Context, 0, move |draft| {
                if !draft.state().is_empty() {
                    return Err(Error::context_not_empty(&name));
                }
                require_writable(&mut *draft, &Subject::new(name.clone(), ""))?;
                if draft.state().is_listed() {
                    draft.put(Change::Listed(false));
                }
                Ok(())
            })
            .await
    }
}
