job "web" {
  group "web" {
    task "web" {
      driver = "docker"
      config {
        image = "registry.example.com/shop/web:1.0"
        args  = ["--peer", "registry.example.com/shop/api:1.1"]
      }
    }
  }
}
