"""From a browser to a verified :class:`~airflow_sso.identity.Identity`, and no further.

Read it in this order: ``views`` takes the request, ``attempt`` remembers it, ``oidc`` talks to the
provider, ``id_token`` verifies, ``claims`` says who it is. ``vendors`` holds what differs by provider.
"""
