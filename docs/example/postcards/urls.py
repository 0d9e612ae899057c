from django.urls import include, path

from .views import index

urlpatterns = [
    path("", index, name="index"),
    path("anymail/", include("anymail.urls")),
]
