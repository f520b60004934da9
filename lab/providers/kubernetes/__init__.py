"""The `kubernetes` resource plugin, where the official one cannot be had: `python -m lab.providers.kubernetes`.

It talks to the API server with server-side apply and leaves all defaulting and validation to it. What it does not do
as the official plugin does:

- Charts, releases, YAML files, kustomizations, `Invoke` and rendering to a folder: refused by name.
- No schema: `pulumi import` takes objects over but writes no code (`--generate-code=false`).
- The field manager of an object is made from its URN, not at random. So an object that an interrupted run made is known
  again and taken over; the official plugin says that it exists already, unless `upsertExistingObjects` is set.
- An auto-named object that an interrupted run left behind is removed by the next run (see `unconfirmed`).
- A change that only the server knows to be impossible (`field is immutable`) replaces the object already in a preview.
- The name of an auto-named object is unknown in a preview, as are addresses and identifiers that the server makes up.
- The state holds no `metadata.managedFields`.
- Only what owns Pods is deleted in the foreground; `pulumi.com/waitFor` and `pulumi.com/replaceUnready` are not heeded.
"""
