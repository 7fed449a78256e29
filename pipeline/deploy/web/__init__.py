"""A page that hears: an exported student in a browser, with onnxruntime-web; no network after it was loaded, no framework.

    exports/<corpus>/<run>/web/index.html           with its files beside it, for a server
    exports/<corpus>/<run>/web/student-sound.html   all of it in one file, which opens from disk

``making`` puts the page together and has Python answer its examples; ``runtime`` fetches onnxruntime-web, once. The page itself is
``page.html`` and the plain JavaScript beside it. Begin with ``making``. Imports: as ``deploy``.
"""
