"""Sphinx settings. `tox -e docs` builds the pages."""

import re
import sys
from pathlib import Path

import django
from django.conf import settings

docs = Path(__file__).parent
sys.path[:0] = [str(docs.parent), str(docs / "_ext")]

# For autodoc, which imports the modules.
settings.configure(INSTALLED_APPS=["anymail"])
django.setup()

version_file = docs.parent / "anymail" / "_version.py"

project = "Anymail"
author = "Anymail contributors"
project_copyright = f"2026, {author}"
release = re.search(r'__version__ = "(.+)"', version_file.read_text())[1]
version = re.match(r"\d+\.\d+", release)[0]

extensions = [
    "anymail_providers",
    "anymail_settings",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "inventories/README.rst", "example"]
nitpicky = True

# From files, so that no network is needed: see inventories/README.rst.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3/", "inventories/python.inv"),
    "django": ("https://docs.djangoproject.com/en/stable/", "inventories/django.inv"),
    "requests": ("https://requests.readthedocs.io/en/latest/", "inventories/requests.inv"),
}

# Names that the projects above don't document
nitpick_ignore = {
    # Re-exported by anymail.utils, and what it is made for is in Requests' source.
    ("py:class", "requests.structures.CaseInsensitiveDict"),
    # What is private is not described.
    ("py:class", "anymail.conf._ProjectSettings"),
    ("py:class", "Base64Bytes"),
    ("py:class", "Base64File"),
    # Parts of Django that have no reference.
    ("py:class", "django.core.mail.backends.base.BaseEmailBackend"),
    ("py:class", "django.core.mail.backends.console.EmailBackend"),
    ("py:class", "django.core.mail.message.EmailMultiAlternatives"),
    ("py:class", "django.http.response.HttpResponseBase"),
    ("py:class", "django.urls.resolvers.URLPattern"),
    ("py:class", "django.utils.datastructures.MultiValueDict"),
    # Newer than the inventory.
    ("py:class", "django.core.mail.exceptions.InvalidMailer"),
    # Type variables.
    ("py:class", "anymail.conf.T"),
    ("py:class", "anymail.addresses.T"),
    ("py:obj", "anymail.addresses.T"),
    # Internals of sending, in annotations of what is public.
    ("py:class", "anymail.sending.attributes.MessageAttribute"),
    ("py:class", "anymail.sending.journey.Journey"),
    ("py:class", "anymail.sending.problems.Meaning"),
    ("py:class", "anymail.sending.steps.ApiCall"),
    # The same of settings.
    ("py:class", "anymail.conf._ProjectSettings"),
    # The same of webhooks.
    ("py:class", "anymail.webhooks.keys.SigningKeys"),
    # Internals of the sandbox, in annotations of what is public.
    ("py:class", "anymail.sandbox.faults.Fault"),
    ("py:class", "anymail.sandbox.providers.Provider"),
    ("py:class", "anymail.sandbox.providers.WebhookTarget"),
    ("py:class", "anymail.sandbox.wire.ApiResponse"),
    ("py:class", "anymail.sandbox.wire.Form"),
}

# Where objects are defined, and the names that they are documented under.
documented_names = {
    "EmailMessage": "django.core.mail.EmailMessage",
    "Policy": "email.policy.Policy",
    "PreparedRequest": "requests.PreparedRequest",
    "Response": "requests.Response",
    "django.apps.config.AppConfig": "django.apps.AppConfig",
    "django.core.checks.messages.CheckMessage": "django.core.checks.CheckMessage",
    "django.core.files.uploadedfile.SimpleUploadedFile": (
        "django.core.files.uploadedfile.UploadedFile"
    ),
    "django.core.mail.message.EmailMessage": "django.core.mail.EmailMessage",
    "django.dispatch.dispatcher.Signal": "django.dispatch.Signal",
    "django.http.request.HttpRequest": "django.http.HttpRequest",
    "django.http.response.HttpResponse": "django.http.HttpResponse",
}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 160
toc_object_entries_show_parents = "hide"

copybutton_exclude = ".linenos, .gp, .go"  # prompts and output of console examples

html_theme = "furo"
html_title = f"Anymail {release}"
html_static_path = ["_static"]
html_css_files = ["anymail.css"]
html_copy_source = False
html_show_sourcelink = False


def use_documented_name(app, env, node, contnode):
    """Have intersphinx look for an object under the name that its project documents it with."""
    node["reftarget"] = documented_names.get(node["reftarget"], node["reftarget"])


def shorten_factories(app, what, name, obj, options, signature, return_annotation):
    """Make signatures of dataclasses valid Python."""
    return signature and signature.replace("<factory>", "..."), return_annotation


def setup(app):
    app.connect("missing-reference", use_documented_name, priority=400)
    app.connect("autodoc-process-signature", shorten_factories)
