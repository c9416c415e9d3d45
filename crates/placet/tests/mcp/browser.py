"""A person's browser: goes where it is told, with cookies, and tells the last address and what stands there."""
import http.cookiejar
import sys
import urllib.request

jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
with urllib.request.build_opener(jar).open(sys.argv[1]) as page:
    print(page.url)
    print(page.read().decode())
