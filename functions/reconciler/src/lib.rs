//! The reconciler: every minute, makes right what events left undone.

use headroom::flows::App;
use headroom::table::TableError;

/// One pass, with a line about it in the log.
pub async fn handle(app: &App) -> Result<(), TableError> {
    let pass = app.reconcile().await?;
    tracing::info!(
        calls.listed = pass.listed,
        calls.ended = pass.ended,
        calls.found = pass.found,
        dials.adopted = pass.adopted,
        dials.given_back = pass.given_back,
        dials.unknown = pass.unknown,
        lines.ceiling = pass.ceiling,
        "pass"
    );
    Ok(())
}
