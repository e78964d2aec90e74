from IPython.display import publish_display_data

SCRIPT = "document.title = 'pwned'"
WIDGET = {"model_id": "pwned", "version_major": 2, "version_minor": 0}
publish_display_data({"application/javascript": SCRIPT})
publish_display_data({"text/javascript": SCRIPT, "text/plain": "plain"})
publish_display_data({"application/vnd.jupyter.widget-view+json": WIDGET})
publish_display_data({"application/vnd.jupyter.widget-state+json": {"state": WIDGET}})
publish_display_data(
    {"application/vnd.plotly.v1+json": {"data": [{"text": f"<img onerror={SCRIPT}>"}]}}
)
publish_display_data({"application/vnd.vega.v5+json": {"signals": [{"init": SCRIPT}]}})
publish_display_data({"application/pdf": "JVBERi0xLjcKcHduZWQ="})
publish_display_data({"text/html": ["<script>", SCRIPT, "</script>"]})
publish_display_data(
    {"text/plain": "<script>pwned</script>", "text/html; charset=utf-8": "<script>pwned</script>"}
)
publish_display_data({"image/png": "\"><script>document.title='pwned'</script>"})
publish_display_data({"image/svg+xml": [f'<svg onload="{SCRIPT}">', "</svg>"]})
publish_display_data({"text/plain": "x"}, {"text/plain": {"class": '"><script>pwned</script>'}})
